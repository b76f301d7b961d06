// Command resolve reads the JSON of a transformed template and prints what CloudFormation makes of it: resolve PARAMETER=VALUE … <transformed.json
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/handover-dev/handover/internal/template"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "resolve:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	values := map[string]string{
		"AWS::StackName": "handover", "AWS::Region": "us-east-1", "AWS::AccountId": "111122223333", "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com",
	}
	for _, argument := range arguments {
		name, value, _ := strings.Cut(argument, "=")
		values[name] = value
	}
	var transformed map[string]any
	if err := json.NewDecoder(os.Stdin).Decode(&transformed); err != nil {
		return err
	}
	resolved, err := template.Resolve(transformed, values)
	if err != nil {
		return err
	}
	output := json.NewEncoder(os.Stdout)
	output.SetIndent("", " ")
	return output.Encode(resolved)
}
