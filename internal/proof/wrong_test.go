// Package proof breaks the product on purpose, to show that its tests notice. See "make proof".
package proof

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/handover-dev/handover/internal/realparts"
)

// design is a design that is known to be wrong: changes of the code, and the tests that notice.
type design struct {
	name    string
	changes []change
	by      []caught
}

// change replaces a text that is in the file once.
type change struct{ file, old, new string }

// caught is a test that must fail.
type caught struct{ pkg, test string }

// TestWrongDesigns builds each known wrong design and runs the tests that must catch it. The code itself has no switches: the changes are laid over it while
// it is compiled. The ordinary run only looks whether each change still fits; HANDOVER_PROOF=1 runs them all, which takes minutes.
func TestWrongDesigns(t *testing.T) {
	root := realparts.Root(t)
	for _, d := range designs {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			overlay := d.lay(t, root)
			if os.Getenv("HANDOVER_PROOF") == "" {
				return
			}
			for _, by := range d.by {
				test(t, root, overlay, by)
			}
		})
	}
}

// lay makes an overlay of the changed files, as "go help build" describes it, and returns its path.
func (d design) lay(t *testing.T, root string) string {
	t.Helper()
	folder, texts := t.TempDir(), map[string]string{}
	for _, c := range d.changes {
		text, ok := texts[c.file]
		if !ok {
			read, err := os.ReadFile(filepath.Join(root, c.file))
			if err != nil {
				t.Fatal(err)
			}
			text = string(read)
		}
		if n := strings.Count(text, c.old); n != 1 {
			t.Fatalf("%s has this %d times, want once:\n%s", c.file, n, c.old)
		}
		texts[c.file] = strings.Replace(text, c.old, c.new, 1)
	}
	var overlay struct{ Replace map[string]string }
	overlay.Replace = map[string]string{}
	for file, text := range texts {
		path := filepath.Join(folder, strings.ReplaceAll(file, "/", "-"))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(root, file)] = path
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "overlay.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// test runs a test that must fail, by itself and not because it cannot be compiled.
func test(t *testing.T, root, overlay string, by caught) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-count=1", "-run", "^"+by.test+"$", "./internal/"+by.pkg)
	command.Dir = root
	command.Env = append(os.Environ(), "GOFLAGS="+os.Getenv("GOFLAGS")+" -overlay="+overlay, // for what the test compiles, too
		"HANDOVER_PROOF=", "RAPID_NOFAILFILE=true", "RAPID_SHRINKTIME=1s")
	output, err := command.CombinedOutput()
	if err == nil || !strings.Contains(string(output), "--- FAIL: "+by.test) {
		t.Errorf("%s of %s did not catch it: %v\n%s", by.test, by.pkg, err, output)
	}
}
