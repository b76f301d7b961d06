package terra_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"
)

// TestSignaturesAreComparedInConstantTime reads the code: what mac returns goes into a header (Sign), or into subtle.ConstantTimeCompare, and nowhere else.
func TestSignaturesAreComparedInConstantTime(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "signature.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, declaration := range file.Decls {
		f, ok := declaration.(*ast.FuncDecl)
		if !ok || f.Name.Name == "Sign" || f.Name.Name == "mac" {
			continue
		}
		macs, safe, uses := map[string]bool{}, map[*ast.Ident]bool{}, []*ast.Ident{}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if call, ok := n.Rhs[0].(*ast.CallExpr); ok && named(call.Fun) == "mac" {
					variable := n.Lhs[0].(*ast.Ident)
					macs[variable.Name], safe[variable] = true, true
				}
			case *ast.CallExpr:
				if named(n.Fun) == "subtle.ConstantTimeCompare" {
					ast.Inspect(n, func(inside ast.Node) bool {
						if use, ok := inside.(*ast.Ident); ok {
							safe[use] = true
						}
						return true
					})
				}
			case *ast.Ident:
				uses = append(uses, n)
			}
			return true
		})
		for _, use := range uses {
			switch {
			case use.Name == "mac" && len(macs) == 0:
				t.Errorf("%s uses what mac returns without a name", f.Name)
			case macs[use.Name] && !safe[use]:
				t.Errorf("%s uses %s outside of subtle.ConstantTimeCompare", f.Name, use.Name)
			case macs[use.Name]:
				compared++
			}
		}
	}
	if compared != 2 { // made, and compared
		t.Errorf("signatures are used %d times, want 2", compared)
	}
}

// named is the name of a function that is called.
func named(f ast.Expr) string {
	switch f := f.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return named(f.X) + "." + f.Sel.Name
	}
	return ""
}
