// Command mutants shows whether the tests bite ("make mutants"): it changes one operator of the code at a time, and the tests of the package must notice. A change
// that they do not notice must be in survivors.txt, with the reason why nobody could, and what is there must survive.
//
// The changes are those of Gremlins, which is asked for their list only. It is not trusted to try them: it takes what cannot be compiled for noticed, never
// tries the condition of a case, and leaves the real parts behind in the copy of the folder that it works in. Here changes are laid over the code while that
// is compiled, and then the tests run where they always do: first with -short, and in full on what has survived that.
package main

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// packages are those that are changed, each with the packages whose tests must notice, the first ones first.
var packages = [][]string{
	{"internal/ownership", "internal/sweep"},
	{"internal/terra"},
	{"internal/ledger"},
	{"internal/local/embedded"},
}

// least is the share of the mutants, in percent, that the tests of each package must notice.
const least = 95

// swaps is what each kind of mutant makes of an operator, as Gremlins has it.
var swaps = map[string]map[string]string{
	"ARITHMETIC_BASE":         {"+": "-", "-": "+", "*": "/", "/": "*", "%": "*"},
	"CONDITIONALS_BOUNDARY":   {">=": ">", ">": ">=", "<=": "<", "<": "<="},
	"CONDITIONALS_NEGATION":   {"==": "!=", "!=": "==", ">=": "<", ">": "<=", "<=": ">", "<": ">="},
	"INCREMENT_DECREMENT":     {"++": "--", "--": "++"},
	"INVERT_ASSIGNMENTS":      {"+=": "-=", "-=": "+=", "*=": "/=", "/=": "*="},
	"INVERT_BITWISE":          {"&^": "&", "&": "|", "|": "&", "^": "&", "<<": ">>", ">>": "<<"},
	"INVERT_BWASSIGN":         {"&^=": "&=", "&=": "|=", "|=": "&=", "^=": "&=", "<<=": ">>=", ">>=": "<<="},
	"INVERT_LOGICAL":          {"&&": "||", "||": "&&"},
	"INVERT_LOOPCTRL":         {"break": "continue", "continue": "break"},
	"INVERT_NEGATIVES":        {"-": "+"},
	"REMOVE_SELF_ASSIGNMENTS": {"+=": "=", "-=": "=", "*=": "=", "/=": "=", "%=": "=", "&=": "=", "|=": "=", "^=": "=", "<<=": "=", ">>=": "=", "&^=": "="},
}

//go:embed survivors.txt
var explained string

// mutant is one change of the code.
type mutant struct {
	site
	kind     string // Gremlins' name
	line     int
	operator int    // its offset in the file
	text     []byte // of the whole file as changed
}

// site names a change in a way that outlives changes of other lines. What binds together in the old line does so in the new one.
type site struct{ file, function, old, new string }

func (s site) String() string {
	return fmt.Sprintf("%s %s\n- %s\n+ %s\n", s.file, s.function, s.old, s.new)
}

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

// run tries the mutants of the files whose paths begin with one of these, or of all packages.
func run(ctx context.Context, paths []string) error {
	root, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	reasons, err := parse(explained)
	if err != nil {
		return fmt.Errorf("survivors.txt: %w", err)
	}
	asked := func(file string) bool {
		return len(paths) == 0 || slices.ContainsFunc(paths, func(p string) bool { return strings.HasPrefix(file, p) })
	}
	var faults []error
	found := map[site]bool{} // of the reasons
	table := fmt.Sprintf("%-25s %8s %8s %8s %9s %8s %8s\n", "package", "mutants", "noticed", "endless", "explained", "survived", "share")
	for _, tests := range packages {
		pkg := tests[0]
		mutants, err := list(ctx, root, work, pkg)
		if err != nil {
			return fmt.Errorf("listing the mutants of %s: %w", pkg, err)
		}
		mutants = slices.DeleteFunc(mutants, func(m mutant) bool { return !asked(m.file) })
		if len(mutants) == 0 {
			continue
		}
		results, err := try(ctx, root, work, tests, mutants)
		if err != nil {
			return fmt.Errorf("trying the mutants of %s: %w", pkg, err)
		}
		n := map[verdict]int{}
		for i, m := range mutants {
			v := results[i]
			if v == survived && reasons[m.site] != "" {
				v, found[m.site] = known, true
			}
			n[v]++
			if v == survived {
				faults = append(faults, fmt.Errorf("survived at line %d: %s", m.line, m.site))
			}
		}
		all := n[noticed] + n[endless] + n[known] + n[survived]
		share := 100 * float64(n[noticed]+n[endless]) / float64(max(all, 1))
		table += fmt.Sprintf("%-25s %8d %8d %8d %9d %8d %6.1f %%\n", pkg, all, n[noticed], n[endless], n[known], n[survived], share)
		if len(paths) == 0 && share < least {
			faults = append(faults, fmt.Errorf("the tests of %s notice %.1f %%, of at least %d %%", pkg, share, least))
		}
	}
	for s := range reasons {
		if asked(s.file) && !found[s] {
			faults = append(faults, fmt.Errorf("in survivors.txt, but noticed or not there: %s", s))
		}
	}
	fmt.Print(table)
	return errors.Join(faults...)
}

// parse reads survivors.txt: paragraphs of FILE FUNCTION, "- " the line, "+ " the line as changed, and the reason in the lines that follow.
func parse(text string) (map[site]string, error) {
	reasons := map[site]string{}
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		paragraph = strings.TrimSpace(paragraph)
		if paragraph == "" || strings.HasPrefix(paragraph, "#") {
			continue
		}
		lines := strings.SplitN(paragraph, "\n", 4)
		if len(lines) < 4 {
			return nil, fmt.Errorf("want FILE FUNCTION, - LINE, + LINE and a reason:\n%s", paragraph)
		}
		file, function, _ := strings.Cut(lines[0], " ")
		reasons[site{file, function, strings.TrimPrefix(lines[1], "- "), strings.TrimPrefix(lines[2], "+ ")}] = lines[3]
	}
	return reasons, nil
}

// list asks Gremlins for the mutants of a package. What it would do anyway, compiling the package and copying the folder, it does in a copy of the code alone.
func list(ctx context.Context, root, work, pkg string) ([]mutant, error) {
	code := filepath.Join(work, "code")
	if err := copyCode(root, code); err != nil {
		return nil, err
	}
	gremlins, err := exec.CommandContext(ctx, "go", "tool", "-n", "gremlins").Output()
	if err != nil {
		return nil, err
	}
	listed := filepath.Join(work, "gremlins.json")
	command := exec.CommandContext(ctx, strings.TrimSpace(string(gremlins)), "unleash", "--dry-run", "--workers=1", "--invert-assignments", "--invert-bitwise",
		"--invert-bwassign", "--invert-logical", "--invert-loopctrl", "--remove-self-assignments", "--output="+listed, "./"+pkg)
	command.Dir = code
	if said, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, said)
	}
	text, err := os.ReadFile(listed)
	if err != nil {
		return nil, err
	}
	var report struct {
		Files []struct {
			Name      string `json:"file_name"`
			Mutations []struct {
				Type         string
				Line, Column int
			}
		}
	}
	if err := json.Unmarshal(text, &report); err != nil {
		return nil, err
	}
	var mutants []mutant
	for _, f := range report.Files {
		if strings.Contains(f.Name, "/") { // another package, inside this one's folder
			continue
		}
		file := pkg + "/" + f.Name
		source, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return nil, err
		}
		for _, m := range f.Mutations {
			made, err := mutate(file, source, m.Type, m.Line, m.Column)
			if err != nil {
				return nil, fmt.Errorf("%s:%d:%d %s: %w", file, m.Line, m.Column, m.Type, err)
			}
			if !slices.ContainsFunc(mutants, func(other mutant) bool { return other.file == file && bytes.Equal(other.text, made.text) }) {
				mutants = append(mutants, made)
			}
		}
	}
	slices.SortStableFunc(mutants, func(a, b mutant) int { return cmp.Or(strings.Compare(a.file, b.file), cmp.Compare(a.line, b.line)) })
	return mutants, nil
}

// copyCode copies what the packages are compiled of.
func copyCode(from, to string) error {
	files, err := exec.Command("git", "-C", from, "ls-files", "*.go", "go.mod", "go.sum", ":!*_test.go", ":!.tools").Output()
	if err != nil {
		return err
	}
	for name := range strings.Lines(string(files)) {
		name = strings.TrimSpace(name)
		text, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(to, filepath.Dir(name)), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// mutate swaps the operator at a place of the source.
func mutate(file string, source []byte, kind string, line, column int) (mutant, error) {
	places := token.NewFileSet()
	tree, err := parser.ParseFile(places, file, source, 0)
	if err != nil {
		return mutant{}, err
	}
	in := places.File(tree.Pos())
	at := in.LineStart(line) + token.Pos(column-1)
	rest := source[in.Offset(at):]
	operator := ""
	for o := range swaps[kind] {
		if len(o) > len(operator) && bytes.HasPrefix(rest, []byte(o)) {
			operator = o
		}
	}
	if operator == "" {
		return mutant{}, errors.New("no such operator is there")
	}
	function := "-"
	for _, d := range tree.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Pos() <= at && at < f.End() {
			function = f.Name.Name
		}
	}
	text := slices.Concat(source[:in.Offset(at)], []byte(swaps[kind][operator]), rest[len(operator):])
	lineOf := func(text []byte) string { return string(bytes.TrimSpace(bytes.Split(text, []byte("\n"))[line-1])) }
	return mutant{site{file, function, lineOf(source), lineOf(text)}, kind, line, in.Offset(at), text}, nil
}

// verdict is what the tests make of a mutant.
type verdict int

const (
	survived    verdict = iota
	known               // survived, and nobody could notice
	noticed             // a test fails
	endless             // the tests do not end
	notCompiled         // no mutant at all
)

// try runs the tests of the packages on each mutant.
func try(ctx context.Context, root, work string, tests []string, mutants []mutant) ([]verdict, error) {
	b := bench{root: root, tests: tests, took: map[string]time.Duration{}}
	together := filepath.Join(work, "together")
	switched, err := b.switches(mutants)
	if err != nil {
		return nil, err
	}
	if compiled, err := b.compile(ctx, together, switched); !compiled {
		return nil, fmt.Errorf("with a switch for each mutant it does not compile: %w", err)
	}
	if v, err := b.run(ctx, together, ""); v != survived {
		return nil, fmt.Errorf("the tests fail on the code as it is: %w", err)
	}

	var (
		results = make([]verdict, len(mutants))
		next    = make(chan int)
		wait    sync.WaitGroup
		lock    sync.Mutex
		done    int
	)
	for worker := range runtime.GOMAXPROCS(0) {
		alone := filepath.Join(work, fmt.Sprint(worker))
		wait.Go(func() {
			for i := range next {
				m, v := mutants[i], notCompiled
				if m.switchable() {
					v, _ = b.run(ctx, together, fmt.Sprint(i+1))
				} else if compiled, _ := b.compile(ctx, alone, map[string][]byte{m.file: m.text}); compiled {
					v, _ = b.run(ctx, alone, "")
				}
				lock.Lock()
				results[i] = v
				if done++; v == survived || v == endless {
					log.Printf("%d of %d, line %d, %s: %s", done, len(mutants), m.line, map[verdict]string{survived: "survived", endless: "endless"}[v], m.site)
				}
				lock.Unlock()
			}
		})
	}
	for i := range mutants {
		next <- i
	}
	close(next)
	wait.Wait()
	return results, ctx.Err()
}

// bench is where tests run.
type bench struct {
	root  string
	tests []string                 // packages
	took  map[string]time.Duration // each run of tests on the code as it is
}

// compile makes the packages' tests in folder, of the code with some files changed. False is code that cannot be compiled.
func (b bench) compile(ctx context.Context, folder string, changed map[string][]byte) (bool, error) {
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for file, text := range changed {
		copied := filepath.Join(folder, filepath.Base(file))
		if err := errors.Join(os.MkdirAll(folder, 0o700), os.WriteFile(copied, text, 0o600)); err != nil {
			return false, err
		}
		overlay.Replace[filepath.Join(b.root, file)] = copied
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return false, err
	}
	path := filepath.Join(folder, "overlay.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return false, err
	}
	for _, pkg := range b.tests {
		if said, err := output(ctx, b.root, "", "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay="+path, "-o="+program(folder, pkg), "./"+pkg); err != nil {
			return false, fmt.Errorf("%w\n%s", err, said)
		}
	}
	return true, nil
}

func program(folder, pkg string) string { return filepath.Join(folder, filepath.Base(pkg)+".test") }

// run runs the tests of folder until one fails, with a mutant switched on. The first run is of the code as it is.
func (b bench) run(ctx context.Context, folder, mutant string) (verdict, error) {
	for _, size := range []string{"-test.short", "-test.short=false"} {
		for _, pkg := range b.tests {
			took, known := b.took[pkg+size]
			limit := 10 * time.Minute
			if known {
				limit = 30*time.Second + 10*took
			}
			start := time.Now()
			// The memory is limited, for some loops that do not end fill it.
			said, err := output(ctx, filepath.Join(b.root, pkg), mutant, "sh", "-c", `ulimit -v 8000000 2>/dev/null; exec "$0" "$@"`,
				program(folder, pkg), "-test.failfast", "-test.timeout="+limit.String(), size)
			switch {
			case err == nil:
			case bytes.Contains(said, []byte("panic: test timed out")), bytes.Contains(said, []byte("out of memory")):
				return endless, err
			default:
				return noticed, fmt.Errorf("%w\n%s", err, said)
			}
			if !known {
				b.took[pkg+size] = time.Since(start)
			}
		}
	}
	return survived, nil
}

func output(ctx context.Context, folder, mutant, name string, arguments ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, name, arguments...)
	command.Dir = folder
	command.Env = append(os.Environ(), "MUTANT="+mutant, "CI=true", "HANDOVER_PROOF=", "RAPID_NOFAILFILE=true", "RAPID_SHRINKTIME=1s")
	return command.CombinedOutput()
}
