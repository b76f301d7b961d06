package main

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// full is a disk that takes no more.
type full struct{ err error }

func (f full) Write([]byte) (int, error) { return 0, f.err }

// TestLostOutput: a command whose words are lost has failed.
func TestLostOutput(t *testing.T) {
	lines := []string{
		"", "help", "help send", "version", "version -json", "send auth -o body", "send auth -o curl", "send auth -o event",
		"verify -past 0 -secret foo -signature t=12345678,v1=599aa529690b885a43f184327c582375068d70705b7a471af15e10682c6f5313",
	}
	for _, c := range commands() {
		lines = append(lines, c.name+" -h")
	}
	for _, line := range lines {
		lost := errors.New("no space left")
		tool := tool{getenv: func(string) string { return "" }, stdin: strings.NewReader("{'bar':'baz'}"), stdout: full{lost}, stderr: io.Discard}
		if err := tool.run(t.Context(), strings.Fields(line)); !errors.Is(err, lost) || tool.status(err) != statusFault {
			t.Errorf("handover %s ends with %v", line, err)
		}
	}
}
