// Command licences fails unless every module in the lines "MODULE DIRECTORY" of its input has a licence text that is known to be among the accepted ones, and
// none that is known to be another.
package main

import (
	"bufio"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/licensecheck"
)

func main() {
	accepted := []string{"MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "ISC", "MPL-2.0"}
	modules, faults := 0, 0
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); modules++ {
		var module, folder string
		if _, err := fmt.Sscan(lines.Text(), &module, &folder); err != nil {
			log.Fatalf("%q: %v", lines.Text(), err)
		}
		if err := check(folder, accepted); err != nil {
			faults++
			log.Printf("%s: %v", module, err)
		}
	}
	if modules == 0 || faults > 0 {
		log.Fatalf("%d of %d modules have no licence that is accepted", faults, modules)
	}
}

func check(folder string, accepted []string) error {
	var files []string
	for _, pattern := range []string{"LICEN[CS]E*", "License*", "license*", "COPYING*"} {
		found, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			return err
		}
		files = append(files, found...)
	}
	known := false
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		coverage := licensecheck.Scan(text)
		for _, match := range coverage.Match {
			if !match.IsURL && !slices.Contains(accepted, match.ID) {
				return fmt.Errorf("%s is %s", filepath.Base(file), match.ID)
			}
		}
		known = known || coverage.Percent > 75 && len(coverage.Match) > 0 // the rest is a copyright line, or a patent grant
	}
	if !known {
		return fmt.Errorf("no known licence in %q", files)
	}
	return nil
}
