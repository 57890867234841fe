// SPDX-License-Identifier: GPL-3.0-only

package syntax

import (
	"fmt"
	"strings"
)

// A Pos is a place in a Kconfig file.
type Pos struct {
	File string // as the source statement names it
	Line int    // from 1
}

func (p Pos) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// A Tree is what a Kconfig file and those it sources say.
type Tree struct {
	Root    *Node     // the main menu; its prompt is that of mainmenu
	Symbols []*Symbol // in the order of their first mention
	Files   []string  // in the order in which they were read, each as often as it was
	Modules *Symbol   // the one with the attribute modules; nil where none has it
	// DefconfigList has the names of files that conf reads where there is no .config.
	// It is never written; nil where there is none.
	DefconfigList *Symbol
	// Diagnostics are the warnings, and what $(info) and the commands of $(shell)
	// said, in the order in which they came.
	Diagnostics []Diagnostic
	// Expansions has, for each place, what was asked of the host there.
	Expansions map[Pos][]Expansion
}

// An Expansion is a command of $(shell), or a variable of the environment.
type Expansion struct {
	Command string // empty for a variable
	Name    string // of the variable
	Value   string // what it came to
}

// A Diagnostic is text for one of the standard streams, with its newline.
type Diagnostic struct {
	Stdout bool // else standard error
	Text   string
}

// A Symbol is a configuration symbol, or a constant. Each has one Symbol in a
// tree, however often it is mentioned.
type Symbol struct {
	Name  string
	Const bool // was quoted
	Index int  // in Tree.Symbols
	Nodes []*Node
	Type  Type
}

// A Type is that of a symbol or a choice.
type Type uint8

// The types. A symbol that is mentioned but nowhere defined has none.
const (
	NoType Type = iota
	Bool
	Tristate
	Int
	Hex
	String
)

var typeNames = [...]string{"unknown", "bool", "tristate", "int", "hex", "string"}

func (t Type) String() string { return typeNames[t] }

// Logical says whether the values of a type are n, m and y, and no texts.
func (t Type) Logical() bool { return t == Bool || t == Tristate }

// A Kind is that of a node.
type Kind uint8

// The kinds.
const (
	Menu Kind = iota
	Config
	MenuConfig
	Choice
	Comment
	If
)

var kindNames = [...]string{"menu", "config", "menuconfig", "choice", "comment", "if"}

func (k Kind) String() string { return kindNames[k] }

// A Node is an entry of the menu tree, as it was written: the entries within an
// if are its children.
type Node struct {
	Kind     Kind
	Pos      Pos
	Parent   *Node
	Children []*Node

	// Symbol is that of a config, of a menuconfig, and of a choice with a name.
	Symbol   *Symbol
	Type     Type    // of a choice
	Optional bool    // of a choice
	Prompt   *Prompt // nil where there is none
	// Earlier are the prompts that Prompt replaced. The symbol still has them.
	Earlier []*Prompt
	Depends []Depend // all must hold; an if has its condition here
	Visible []*Expr  // the conditions of a menu's visible if
	// Properties are in the order in which they were written.
	Properties   []*Property
	AllnoconfigY bool // allnoconfig sets it to y
	// Transitional symbols are read from a .config and never written.
	Transitional bool

	help   string // raw
	helped bool   // there is a help text, which may be empty
}

// A Prompt is the text that a user sees.
type Prompt struct {
	Text string
	Cond *Expr // nil is y
	Pos  Pos
}

// A Depend is a dependency.
type Depend struct {
	Expr *Expr
	Pos  Pos
}

// A PropertyKind is that of a property.
type PropertyKind uint8

// The kinds of properties.
const (
	Default PropertyKind = iota
	Select
	Imply
	Range
)

var propertyNames = [...]string{"default", "select", "imply", "range"}

func (k PropertyKind) String() string { return propertyNames[k] }

// A Property is an attribute of a symbol or a choice.
type Property struct {
	Kind      PropertyKind
	Pos       Pos
	Value     *Expr   // of a default
	Target    *Symbol // of a select or an imply
	Low, High *Symbol // of a range
	Cond      *Expr   // nil is y
}

// Help is the help text, without its indentation.
func (n *Node) Help() string {
	var b strings.Builder
	indent := -1
	for line := range strings.Lines(n.help) {
		line = strings.TrimRight(line, " \t\r\n")
		text := strings.TrimLeft(line, " \t")
		if text == "" {
			b.WriteByte('\n')
			continue
		}
		column := columns(line[:len(line)-len(text)])
		if indent < 0 {
			indent = column
		}
		b.WriteString(strings.Repeat(" ", max(column-indent, 0)))
		b.WriteString(text)
		b.WriteByte('\n')
	}
	return strings.Trim(b.String(), "\n")
}

// columns is the width of blanks; a tab goes to the next multiple of 8.
func columns(blanks string) int {
	n := 0
	for i := range len(blanks) {
		if blanks[i] == '\t' {
			n = n&^7 + 8
		} else {
			n++
		}
	}
	return n
}

// An Op is the operator of an expression.
type Op uint8

// The operators.
const (
	Sym Op = iota // the symbol Left
	Not           // of X
	And           // X and Y
	Or
	Equal // Left and Right
	Unequal
	Less
	LessEqual
	Greater
	GreaterEqual
)

var opNames = [...]string{"", "!", "&&", "||", "=", "!=", "<", "<=", ">", ">="}

func (o Op) String() string { return opNames[o] }

// Holds says whether a comparison holds of two values whose order is as cmp.Compare has
// it.
func (o Op) Holds(order int) bool {
	switch o {
	case Equal:
		return order == 0
	case Unequal:
		return order != 0
	case Less:
		return order < 0
	case LessEqual:
		return order <= 0
	case Greater:
		return order > 0
	}
	return order >= 0
}

// An Expr is an expression over symbols.
type Expr struct {
	Op          Op
	X, Y        *Expr
	Left, Right *Symbol
}

// equalsNo is an expression that holds while this one is n.
func (e *Expr) equalsNo(no *Symbol) *Expr { return e.compared(Equal, no) }

// compared is the comparison of an expression with n, as that of its symbols. An
// Unequal that reaches a conjunction is the negation of the whole.
func (e *Expr) compared(op Op, no *Symbol) *Expr {
	negated := func(e *Expr, negate bool) *Expr {
		if negate {
			return &Expr{Op: Not, X: e}
		}
		return e
	}
	switch e.Op {
	case Sym:
		return &Expr{Op: op, Left: e.Left, Right: no}
	case Not:
		return e.X.compared(Equal+Unequal-op, no)
	case And, Or:
		return negated(&Expr{Op: And + Or - e.Op, X: e.X.compared(Equal, no), Y: e.Y.compared(Equal, no)}, op == Unequal)
	}
	return negated(e, op == Equal)
}

// String is the expression as it would be written.
func (e *Expr) String() string {
	return e.Format(func(s *Symbol) string { return s.Name })
}

// Format is String with a name for each symbol that is no constant.
func (e *Expr) Format(name func(*Symbol) string) string {
	var b strings.Builder
	e.write(&b, Or, name)
	return b.String()
}

func (e *Expr) write(b *strings.Builder, outer Op, name func(*Symbol) string) {
	switch e.Op {
	case Sym:
		e.Left.write(b, name)
	case Not:
		b.WriteByte('!')
		e.X.write(b, Not, name)
	case And, Or:
		paren := outer == Not || outer == And && e.Op == Or
		if paren {
			b.WriteByte('(')
		}
		e.X.write(b, e.Op, name)
		b.WriteString(" " + e.Op.String() + " ")
		e.Y.write(b, e.Op, name)
		if paren {
			b.WriteByte(')')
		}
	default:
		if outer == Not {
			b.WriteByte('(')
			defer b.WriteByte(')')
		}
		e.Left.write(b, name)
		b.WriteString(e.Op.String())
		e.Right.write(b, name)
	}
}

func (s *Symbol) write(b *strings.Builder, name func(*Symbol) string) {
	switch {
	case !s.Const:
		b.WriteString(name(s))
	case s.Name == "y" || s.Name == "m" || s.Name == "n":
		b.WriteString(s.Name)
	default:
		fmt.Fprintf(b, "%q", s.Name)
	}
}

// Mentions tells whether a symbol of this name occurs in the expression.
func (e *Expr) Mentions(name string) bool {
	if e == nil {
		return false
	}
	is := func(s *Symbol) bool { return s != nil && !s.Const && s.Name == name }
	return is(e.Left) || is(e.Right) || e.X.Mentions(name) || e.Y.Mentions(name)
}
