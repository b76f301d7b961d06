// Command table sets the output of "go test -bench" side by side: a line for each benchmark and unit, a column for each program (the "by=…" in its name), the
// median of the rounds in each, and the ratios of Handover to the others.
package main

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

type row struct{ benchmark, unit string }

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	rows, cells := []row{}, map[row]map[string][]float64{}
	name := regexp.MustCompile(`^Benchmark(.*)/by=([a-z-]+?)(-\d+)?$`)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || !name.MatchString(fields[0]) {
			continue
		}
		parts := name.FindStringSubmatch(fields[0])
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return err
			}
			r := row{parts[1], fields[i+1]}
			if cells[r] == nil {
				rows = append(rows, r)
				cells[r] = map[string][]float64{}
			}
			cells[r][parts[2]] = append(cells[r][parts[2]], value)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	columns := []string{"handover", "sweep", "revoke", "plain", "floor", "hello", "hello-fetch"}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "\tunit\t"+strings.Join(columns, "\t")+"\tplain/handover\thandover/floor\thandover/hello\thandover/hello-fetch\t")
	for _, r := range rows {
		fmt.Fprint(out, r.benchmark, "\t", r.unit)
		for _, c := range columns {
			fmt.Fprint(out, "\t", number(median(cells[r][c])))
		}
		ratio := func(a, b string) {
			if len(cells[r][a]) == 0 || len(cells[r][b]) == 0 || median(cells[r][b]) == 0 {
				fmt.Fprint(out, "\t")
				return
			}
			fmt.Fprintf(out, "\t%.2f", median(cells[r][a])/median(cells[r][b]))
		}
		ratio("plain", "handover")
		ratio("handover", "floor")
		ratio("handover", "hello")
		ratio("handover", "hello-fetch")
		fmt.Fprintln(out, "\t")
	}
	return out.Flush()
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return -1
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// number writes a value with its thousands apart; -1 is none.
func number(v float64) string {
	if v < 0 {
		return ""
	}
	if v < 100 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	digits := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
