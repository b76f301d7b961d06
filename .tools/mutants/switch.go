package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Most mutants are of conditions, and these are compiled all at once, each with a switch: to compile takes longer than to test.

// switchable reports whether a mutant can be switched on while the program runs.
func (m mutant) switchable() bool {
	return m.kind == "CONDITIONALS_NEGATION" || m.kind == "CONDITIONALS_BOUNDARY" || m.kind == "INVERT_LOGICAL"
}

// helpers is added to a package whose conditions have switches. The environment says which mutant is on.
const helpers = `
import (
	"cmp"
	"os"
	"strconv"
)

var mutantOn, _ = strconv.Atoi(os.Getenv("MUTANT"))

func mutantIs(n int) bool { return n != 0 && n == mutantOn }

func mutantCompare[T cmp.Ordered](operator string, boundary, negation int, x, y T) bool {
	var result, atBoundary bool
	switch operator {
	case "<":
		result, atBoundary = x < y, true
	case "<=":
		result = x <= y
	case ">":
		result, atBoundary = x > y, true
	case ">=":
		result = x >= y
	}
	if mutantIs(boundary) && x == y {
		return atBoundary
	}
	return result != mutantIs(negation)
}

func mutantAnd(n int, x bool, y func() bool) bool {
	if mutantIs(n) {
		return x || y()
	}
	return x && y()
}

func mutantOr(n int, x bool, y func() bool) bool {
	if mutantIs(n) {
		return x && y()
	}
	return x || y()
}
`

// switches returns the files of the mutants with a switch for each that can have one, and the file that these need. Mutants are numbered from 1.
func (b bench) switches(mutants []mutant) (map[string][]byte, error) {
	type place struct {
		operator int
		kind     string
	}
	numbers := map[string]map[place]int{}
	for i, m := range mutants {
		if !m.switchable() {
			continue
		}
		if numbers[m.file] == nil {
			numbers[m.file] = map[place]int{}
		}
		numbers[m.file][place{m.operator, m.kind}] = i + 1
	}
	changed := map[string][]byte{}
	for file, number := range numbers {
		source, err := os.ReadFile(filepath.Join(b.root, file))
		if err != nil {
			return nil, err
		}
		places := token.NewFileSet()
		tree, err := parser.ParseFile(places, file, source, 0)
		if err != nil {
			return nil, err
		}
		offset := places.File(tree.Pos()).Offset
		var edits edits
		var open []ast.Node
		ast.Inspect(tree, func(n ast.Node) bool {
			if n != nil {
				open = append(open, n)
			} else {
				n, open = open[len(open)-1], open[:len(open)-1]
				if e, ok := n.(*ast.BinaryExpr); ok {
					edits.close(offset(e.Y.End()))
				}
				return true
			}
			e, ok := n.(*ast.BinaryExpr)
			if !ok {
				return true
			}
			at := offset(e.OpPos)
			negation, boundary, logical := number[place{at, "CONDITIONALS_NEGATION"}], number[place{at, "CONDITIONALS_BOUNDARY"}], number[place{at, "INVERT_LOGICAL"}]
			start, operator, second, end := "", e.Op.String(), "", ""
			switch {
			case logical > 0:
				start, operator, second, end = fmt.Sprintf("mutantAnd(%d, ", logical), ",", "func() bool { return ", " })"
				if e.Op == token.LOR {
					start = strings.Replace(start, "And", "Or", 1)
				}
			case boundary > 0:
				start, operator, end = fmt.Sprintf("mutantCompare(%q, %d, %d, ", e.Op, boundary, negation), ",", ")"
			case negation > 0:
				start, end = "((", fmt.Sprintf(") != mutantIs(%d))", negation)
			}
			edits.list = append(edits.list,
				edit{at: offset(e.X.Pos()), insert: start}, edit{at: at, remove: len(e.Op.String()), insert: operator}, edit{at: offset(e.Y.Pos()), insert: second})
			edits.ends = append(edits.ends, end)
			return true
		})
		changed[file] = edits.apply(source)
		changed[path.Join(path.Dir(file), "mutants.go")] = []byte("package " + tree.Name.Name + "\n" + helpers)
	}
	return changed, nil
}

// edits are changes of a text. Of those at one place the ends of expressions come first, and then all in the order in which they were added.
type edits struct {
	list []edit
	ends []string // of the expressions that are open
}

type edit struct {
	at, remove int
	insert     string
	end        bool
}

// close adds the end of the expression that was opened last.
func (e *edits) close(at int) {
	last := len(e.ends) - 1
	e.list = append(e.list, edit{at: at, insert: e.ends[last], end: true})
	e.ends = e.ends[:last]
}

func (e *edits) apply(text []byte) []byte {
	slices.SortStableFunc(e.list, func(a, b edit) int {
		if a.at == b.at && a.end != b.end {
			return map[bool]int{true: -1, false: 1}[a.end]
		}
		return a.at - b.at
	})
	var changed []byte
	at := 0
	for _, c := range e.list {
		changed = append(append(changed, text[at:c.at]...), c.insert...)
		at = c.at + c.remove
	}
	return append(changed, text[at:]...)
}
