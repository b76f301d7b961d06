package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/handover-dev/handover/internal/explain"
)

// output remembers the first error of its writer, and writes nothing after it.
type output struct {
	io.Writer
	err error
}

func (o *output) Write(p []byte) (n int, err error) {
	if o.err == nil {
		n, o.err = o.Writer.Write(p)
	}
	return n, o.err
}

// json writes one value, a line.
func (t tool) json(v any) error {
	encoder := json.NewEncoder(t.stdout)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// say writes text for people. What a text among the values cannot show is spelled out.
func (t tool) say(format string, values ...any) { explain.Print(t.stdout, format, values...) }

// table writes rows in columns, under a head.
func (t tool) table(rows [][]string) error {
	w := tabwriter.NewWriter(t.stdout, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			if cell == "" {
				cell = "-"
			}
			explain.Print(w, "%s", cell)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// count is "1 thing" or "n things".
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// instant is a time for people, "-" if there is none.
func instant(at *time.Time) string {
	if at == nil {
		return "-"
	}
	return at.UTC().Format("2006-01-02 15:04:05Z")
}
