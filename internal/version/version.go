// Package version says which Handover a program is: the tool, or a function.
package version

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"strings"
)

// number is set by the linker: -ldflags '-X github.com/handover-dev/handover/internal/version.number=v1.2.3'. It is a package variable because the linker
// sets nothing else. The functions are built without their commit, so that an unchanged one is not deployed again: this is all they know of themselves.
var number string

// Unreleased is the version of a program that was built without one.
const Unreleased = "unreleased"

// Number is the version that was set when the program was built, or that of the module as `go install` fetched it, or [Unreleased].
func Number() string {
	module := ""
	if build, ok := debug.ReadBuildInfo(); ok && build.Main.Version != "(devel)" {
		module = build.Main.Version
	}
	return cmp.Or(number, module, Unreleased)
}

// Build is what is known of how the program was built.
type Build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`   // of the repository, if it was built in one
	Modified bool   `json:"modified,omitempty"` // there were changes beside the commit
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Info returns what is known of how the running program was built.
func Info() Build {
	b := Build{Version: Number(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	build, _ := debug.ReadBuildInfo()
	if build == nil {
		return b
	}
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// String is one line: handover v1.2.3 (commit 1f2e3d4, changed) go1.26.0 linux/amd64.
func (b Build) String() string {
	words := []string{"handover", b.Version}
	if b.Commit != "" {
		commit := "(commit " + b.Commit[:min(len(b.Commit), 12)]
		if b.Modified {
			commit += ", changed"
		}
		words = append(words, commit+")")
	}
	return strings.Join(append(words, b.Go, b.Platform), " ")
}
