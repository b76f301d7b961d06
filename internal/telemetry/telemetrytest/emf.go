// Package telemetrytest reads metrics out of log lines, for tests, as CloudWatch does.
package telemetrytest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// Metrics reads the metrics of log lines, "Accepted Count": 1, and adds up those of the same name. It fails the test if a line breaks a rule of the format, or has
// another dimension than stack, its name.
func Metrics(t testing.TB, lines, stack string) map[string]float64 {
	t.Helper()
	sums := map[string]float64{}
	for line := range strings.Lines(lines) {
		metrics, err := read(line, stack)
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		for name, value := range metrics {
			sums[name] += value
		}
	}
	return sums
}

// Words are metrics in words, in the order of their names: "Accepted Count 1, Guesses Count 2".
func Words(metrics map[string]float64) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		words = append(words, fmt.Sprintf("%s %v", name, metrics[name]))
	}
	return strings.Join(words, ", ")
}

// read reads one line, and holds it to the rules of the format. CloudWatch leaves out without a word what breaks one of them.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
func read(line, stack string) (map[string]float64, error) {
	var members map[string]any
	if err := json.Unmarshal([]byte(line), &members); err != nil {
		return nil, err
	}
	var doc struct {
		AWS *struct {
			Timestamp         int64
			CloudWatchMetrics []struct {
				Namespace  string
				Dimensions [][]string
				Metrics    []struct{ Name, Unit string }
			}
		} `json:"_aws"`
	}
	if err := json.Unmarshal([]byte(line), &doc); err != nil {
		return nil, err
	}
	aws := doc.AWS
	switch {
	case aws == nil && members["_aws"] == nil && members["Stack"] == nil:
		return nil, nil
	case aws == nil:
		return nil, fmt.Errorf("a dimension, but no directive")
	case len(line) > 1<<20:
		return nil, fmt.Errorf("%d bytes", len(line))
	case aws.Timestamp < time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli():
		return nil, fmt.Errorf("the timestamp %d is not in milliseconds", aws.Timestamp)
	case len(aws.CloudWatchMetrics) != 1:
		return nil, fmt.Errorf("%d directives", len(aws.CloudWatchMetrics))
	}
	directive := aws.CloudWatchMetrics[0]
	switch {
	case directive.Namespace != "Handover": // of 1 to 256 characters
		return nil, fmt.Errorf("namespace %q", directive.Namespace)
	case len(directive.Dimensions) != 1 || !slices.Equal(directive.Dimensions[0], []string{"Stack"}): // at most 30
		return nil, fmt.Errorf("dimensions %q", directive.Dimensions)
	case members["Stack"] != stack || stack == "" || len(stack) > 1024: // a dimension's target is a text
		return nil, fmt.Errorf("the dimension is %v, not %q", members["Stack"], stack)
	case len(directive.Metrics) == 0 || len(directive.Metrics) > 100:
		return nil, fmt.Errorf("%d metrics", len(directive.Metrics))
	}
	metrics := map[string]float64{}
	for _, m := range directive.Metrics {
		value, number := members[m.Name].(float64)
		name := m.Name + " " + m.Unit
		if _, twice := metrics[name]; twice || !number || m.Name == "" || len(m.Name) > 1024 || !slices.Contains([]string{"Count", "Seconds", "Percent"}, m.Unit) {
			return nil, fmt.Errorf("metric %q of unit %q is %v", m.Name, m.Unit, members[m.Name])
		}
		metrics[name] = value
	}
	return metrics, nil
}
