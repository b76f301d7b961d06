package benchmark

import (
	"slices"
	"testing"
	"time"
)

// program is one of those that are measured beside each other.
type program struct {
	name string         // of the benchmark that it is reported as; it ends in by=…, its column in the table
	run  func() figures // one measurement
}

// figures are values by their units.
type figures map[string]float64

// inTurn measures programs in turn, A B C A B C …, at least rounds times and for a second, so that a machine that does other things too slows them all alike. It
// reports the median of each program's figures as a benchmark of its own.
func inTurn(b *testing.B, rounds int, programs ...program) {
	values := make([]map[string][]float64, len(programs))
	for i, p := range programs {
		p.run() // fills caches, opens connections
		values[i] = map[string][]float64{}
	}
	for start, round := time.Now(), 0; round < rounds || time.Since(start) < time.Second; round++ {
		for i, p := range programs {
			for unit, value := range p.run() {
				values[i][unit] = append(values[i][unit], value)
			}
		}
	}
	for i, p := range programs {
		b.Run(p.name, func(b *testing.B) {
			for unit, v := range values[i] {
				slices.Sort(v)
				b.ReportMetric(v[len(v)/2], unit)
			}
			b.ReportMetric(0, "ns/op") // of reporting
		})
	}
}
