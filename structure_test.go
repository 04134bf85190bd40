package brink_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// maxMethods bounds the methods of one type: one with more owns the state of several things.
const maxMethods = 40

// structure is what this test looks at in the source of one package.
type structure struct {
	methods map[string]int      // by type
	holders map[string][]string // by type: those that have a pointer to it in a field
}

// TestTypes_StaySmall keeps state with its owner: a type that everything points back to grows until nobody can tell what
// it is.
func TestTypes_StaySmall(t *testing.T) {
	for dir, s := range structures(t, ".") {
		for name, n := range s.methods {
			if n > maxMethods {
				t.Errorf("%s: type %s has %d methods, and %d are the most: give a part of its state an owner",
					dir, name, n, maxMethods)
			}
		}
		if holders := s.holders["Node"]; dir == "node" && len(holders) > 1 {
			t.Errorf("node: %s point back to Node: give them what they need of it", strings.Join(holders, ", "))
		}
	}
}

// structures reads the packages below a folder, tests left out.
func structures(t *testing.T, root string) map[string]*structure {
	t.Helper()
	found := map[string]*structure{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		if found[dir] == nil {
			found[dir] = &structure{methods: map[string]int{}, holders: map[string][]string{}}
		}
		found[dir].read(file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 20 {
		t.Fatalf("%d packages were found", len(found))
	}
	return found
}

// read adds one file.
func (s *structure) read(file *ast.File) {
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv != nil {
				s.methods[nameOf(d.Recv.List[0].Type)]++
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				spec, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				if fields, ok := spec.Type.(*ast.StructType); ok {
					for _, field := range fields.Fields.List {
						if pointer, ok := field.Type.(*ast.StarExpr); ok {
							to := nameOf(pointer.X)
							s.holders[to] = append(s.holders[to], spec.Name.Name)
						}
					}
				}
			}
		}
	}
}

// nameOf returns the name of a type of the same package, "" for other expressions.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.StarExpr:
		return nameOf(e.X)
	case *ast.IndexExpr:
		return nameOf(e.X)
	case *ast.IndexListExpr:
		return nameOf(e.X)
	}
	return ""
}

func TestStructure_CountsMethodsAndPointersBack(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", `package x
type Node struct { part *part; other int }
type part struct { node *Node }
type list[T any] struct { node *Node }
func (n *Node) A() {}
func (n Node) B() {}
func (l *list[T]) C() {}
`, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	s := &structure{methods: map[string]int{}, holders: map[string][]string{}}
	s.read(file)
	if s.methods["Node"] != 2 || s.methods["list"] != 1 || strings.Join(s.holders["Node"], " ") != "part list" {
		t.Errorf("methods %v, holders %v", s.methods, s.holders)
	}
}
