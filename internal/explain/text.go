package explain

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Print writes text for people. Texts among the values may come from outside, where a reference_id can be anything: what cannot be printed in them is spelled
// out (\n, \x1b), so that they neither forge a line nor command the terminal.
func Print(w io.Writer, format string, values ...any) {
	for i, value := range values {
		if text, ok := value.(string); ok {
			values[i] = printable(text)
		}
	}
	fmt.Fprintf(w, format, values...)
}

func printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// Text is the explanation for people, in lines of plain text.
func (a Account) Text() string {
	var b strings.Builder
	Print(&b, "Account %s\n", a.Account)
	if a.Owner != nil {
		Print(&b, "Owner   %s (connection %s)\n", a.Owner.ReferenceID, a.Owner.UserID)
	}
	Print(&b, "%s\n", a.Why)
	for i, h := range a.Holders {
		Print(&b, "\n%d. %s (connection %s), %s\n   Place     %s\n   Transfer  %s\n   End       %s\n",
			i+1, h.ReferenceID, h.UserID, h.State, h.Place, h.Transfer.Why, h.End.Why)
	}
	if len(a.Waiting) > 0 {
		Print(&b, "\nKnown to hold it, but with no place in it:\n")
	}
	for _, c := range a.Waiting {
		b.WriteString("\n" + c.Text())
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
	Print(&b, "Connection %s (%s)\n", c.UserID, provider)
	for _, why := range c.Why {
		Print(&b, "   %s\n", why)
	}
	for _, p := range c.Own {
		Print(&b, "   %s\n", p.Why)
	}
	return b.String()
}
