package explain

import (
	"fmt"
	"strings"
)

// Text is the explanation for people, in lines of plain text.
func (a Account) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Account %s\n", a.Account)
	if a.Owner != nil {
		fmt.Fprintf(&b, "Owner   %s (connection %s)\n", a.Owner.ReferenceID, a.Owner.UserID)
	}
	fmt.Fprintf(&b, "%s\n", a.Why)
	for i, h := range a.Holders {
		fmt.Fprintf(&b, "\n%d. %s (connection %s), %s\n   Place     %s\n   Transfer  %s\n   End       %s\n",
			i+1, h.ReferenceID, h.UserID, h.State, h.Place, h.Transfer.Why, h.End.Why)
	}
	if len(a.Waiting) > 0 {
		fmt.Fprintf(&b, "\nKnown to hold it, but with no place in it:\n")
	}
	for _, c := range a.Waiting {
		fmt.Fprintf(&b, "\n%s", c.Text())
	}
	return b.String()
}

// Text is the explanation for people, in lines of plain text.
func (c Connection) Text() string {
	var b strings.Builder
	provider := c.Provider
	if provider == "" {
		provider = "provider not known"
	}
	fmt.Fprintf(&b, "Connection %s (%s)\n", c.UserID, provider)
	for _, why := range c.Why {
		fmt.Fprintf(&b, "   %s\n", why)
	}
	for _, p := range c.Own {
		fmt.Fprintf(&b, "   %s\n", p.Why)
	}
	return b.String()
}
