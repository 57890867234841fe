// SPDX-License-Identifier: GPL-3.0-only

package syntax

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"
)

// keywords are the words of the language that all kernels know.
var keywords = []string{
	"bool", "choice", "comment", "config", "def_bool", "def_tristate", "default", "depends", "endchoice", "endif", "endmenu", "help", "hex",
	"if", "imply", "int", "mainmenu", "menu", "menuconfig", "modules", "on", "prompt", "range", "select", "source", "string", "tristate", "visible",
}

// Dialect says which of the constructs that came and went a kernel's conf knows.
type Dialect struct {
	NamedChoice    bool // choice NAME
	OptionalChoice bool // the attribute optional of a choice
	TristateChoice bool // the attribute tristate of a choice
	ChoiceType     bool // the attributes bool and tristate of a choice may have no prompt
	ChoiceBool     bool // the attribute bool of a choice
	OptionModules  bool // there is no attribute modules, only option modules
	Option         bool // the attribute option NAME
	DefconfigList  bool // option defconfig_list and option allnoconfig_y
	Transitional   bool // the attribute transitional
	ConditionalOn  bool // depends on X if Y
	StrictHelp     bool // a help text that is blank, or the second of an entry, is an error
	StrictMenu     bool // so is a menuconfig without a prompt
	SourcedOnce    bool // and a file that is sourced twice
	LastNewline    bool // the first file must end with a newline
	NamelessEnd    bool // after the last file there is no name in a warning
}

// keywords are those of the dialect.
func (d Dialect) keywords() map[string]bool {
	set := map[string]bool{
		"option": d.Option, "defconfig_list": d.DefconfigList, "allnoconfig_y": d.DefconfigList,
		"optional": d.OptionalChoice, "transitional": d.Transitional,
	}
	for _, k := range keywords {
		set[k] = true
	}
	return set
}

// Options say how to parse.
type Options struct {
	// Dir is conf's working directory, where files are looked for first.
	Dir string
	// Srctree is where they are looked for next; $(srctree).
	Srctree string
	// File is the first file, as it is given to conf; Kconfig if it is empty.
	File string
	// Getenv looks up $(NAME) in the environment.
	Getenv func(name string) (string, bool)
	// Shell runs a command of $(shell) and returns what it wrote. An output of
	// Pending means that it isn't known yet: Parse then returns ErrPending, after
	// it has asked for all commands that it could.
	Shell func(command string) (Output, error)
	Dialect
	// ReadFile reads a file; os.ReadFile if it is nil.
	ReadFile func(path string) ([]byte, error)
}

// ErrPending is returned by Parse when commands still run.
var ErrPending = errors.New("commands of $(shell) still run")

// Parse parses a Kconfig file and those it sources. Errors in them are of type
// *Error.
func Parse(o Options) (*Tree, error) {
	if o.File == "" {
		o.File = "Kconfig"
	}
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	if o.Getenv == nil {
		o.Getenv = os.LookupEnv
	}
	p := &parser{
		Options: o,
		tree:    &Tree{Expansions: map[Pos][]Expansion{}, Root: &Node{Kind: Menu, Pos: Pos{o.File, 1}, Prompt: &Prompt{Text: "Main menu", Pos: Pos{o.File, 1}}}},
		symbols: make(map[string]*Symbol, 1<<15), // a kernel has some 20,000
		consts:  map[string]*Symbol{},
		sourced: map[string]Pos{},
	}
	p.macros = &macros{
		variables: map[string]*variable{},
		getenv:    o.Getenv,
		shell:     o.Shell,
		say:       func(d Diagnostic) { p.tree.Diagnostics = append(p.tree.Diagnostics, d) },
		expansion: func(at where, e Expansion) { p.tree.Expansions[at] = append(p.tree.Expansions[at], e) },
	}
	p.reserved = o.Dialect.keywords()
	err := p.file(o.File, p.tree.Root, Pos{})
	if p.macros.pending {
		// Errors may come from what isn't known yet.
		return nil, ErrPending
	}
	if err != nil {
		return nil, err
	}
	return p.tree, nil
}

type parser struct {
	Options
	tree     *Tree
	symbols  map[string]*Symbol
	consts   map[string]*Symbol
	macros   *macros
	chain    []Pos // of the source statements, outermost first
	sourced  map[string]Pos
	open     []string
	reserved map[string]bool // the keywords

	*lexer      // of the present file
	i       int // the token of the statement that is looked at
	nesting int // of parentheses
	blocks  int
	entry   *Node // takes the options that follow
	menu    *Node // the menuconfig that the next statement ends
}

// fail returns an error in the present statement.
func (p *parser) fail(format string, args ...any) error {
	return &Error{Pos: Pos{p.name, p.first}, Problem: fmt.Sprintf(format, args...)}
}

// here is the place of the present statement.
func (p *parser) here() Pos { return Pos{p.name, p.first} }

func (p *parser) warn(at Pos, format string, args ...any) {
	p.macros.say(Diagnostic{Text: at.String() + ":warning: " + fmt.Sprintf(format, args...) + "\n"})
}

// remark is a warning of what has ended where something else begins.
func (p *parser) remark(next Pos, format string, args ...any) {
	p.macros.say(Diagnostic{Text: next.String() + ": warning: " + fmt.Sprintf(format, args...) + "\n"})
}

// symbol returns that of a name.
func (p *parser) symbol(name string, constant bool) *Symbol {
	set := p.symbols
	// The kernel's conf has these three as constants, quoted or not.
	if name == "y" || name == "m" || name == "n" {
		constant = true
	}
	if constant {
		set = p.consts
	}
	s := set[name]
	if s == nil {
		s = &Symbol{Name: name, Const: constant, Index: len(p.tree.Symbols)}
		set[name] = s
		p.tree.Symbols = append(p.tree.Symbols, s)
	}
	return s
}

// file parses a file into a node.
func (p *parser) file(name string, parent *Node, from Pos) error {
	text, err := p.read(name)
	if err != nil {
		if from.File == "" {
			return fmt.Errorf("can't find the Kconfig file %s: %w", name, err)
		}
		return &Error{Pos: from, Problem: fmt.Sprintf("can't open file \"%s\"", name), Chain: p.reversed()[1:]}
	}
	if slices.Contains(p.open, name) {
		return &Error{Pos: from, Problem: fmt.Sprintf("recursive inclusion of \"%s\"", name), Chain: p.reversed()[1:]}
	}
	if first, again := p.sourced[name]; again && p.SourcedOnce {
		return &Error{Pos: from, Problem: fmt.Sprintf("repeated inclusion of \"%s\", first included at %s", name, first), Chain: p.reversed()[1:]}
	}
	p.sourced[name] = from
	p.tree.Files = append(p.tree.Files, name)
	outer := p.lexer
	p.lexer = &lexer{name: name, text: text, line: 1, macros: p.macros, keywords: p.reserved, ends: p.LastNewline && outer == nil}
	if outer != nil {
		p.tokens = outer.tokens // its statement has been read
	}
	p.open = append(p.open, name)
	p.entry = nil
	_, err = p.block(parent, "")
	if outer == nil && err == nil {
		end := Pos{name, p.line}
		if p.NamelessEnd {
			end.File = "<none>"
		}
		err = p.endEntry(end)
	}
	p.open = p.open[:len(p.open)-1]
	p.lexer = outer
	p.entry = nil
	var e *Error
	if errors.As(err, &e) && e.Chain == nil {
		e.Chain = p.reversed()
	}
	return err
}

func (p *parser) reversed() []Pos {
	chain := slices.Clone(p.chain)
	slices.Reverse(chain)
	return chain
}

func (p *parser) read(name string) (string, error) {
	path := name
	if !filepath.IsAbs(name) {
		path = filepath.Join(p.Dir, name)
	}
	data, err := p.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(name) && p.Srctree != "" && p.Srctree != p.Dir {
		srctree := p.Srctree
		if !filepath.IsAbs(srctree) {
			srctree = filepath.Join(p.Dir, srctree)
		}
		data, err = p.ReadFile(filepath.Join(srctree, name))
	}
	return unsafeString(data), err
}

// block parses statements up to the one that ends the block, and returns its
// place. The end of a file is the end "".
func (p *parser) block(parent *Node, end string) (Pos, error) {
	begin := p.here()
	p.blocks++
	defer func() { p.blocks-- }()
	if p.blocks > maxNesting {
		return Pos{}, p.fail("%s is nested too deep", strings.TrimPrefix(end, "end"))
	}
	for {
		more, err := p.next()
		if err != nil {
			return Pos{}, err
		}
		if !more {
			if end != "" {
				return Pos{}, &Error{Pos: begin, Problem: fmt.Sprintf("%s without %s", strings.TrimPrefix(end, "end"), end)}
			}
			return Pos{}, nil
		}
		first := p.tokens[0]
		p.i, p.nesting = 1, 0
		if first.kind != keyword || endsEntry[first.text] {
			if err := p.endEntry(p.here()); err != nil {
				return Pos{}, err
			}
		}
		switch {
		case first.kind == word:
			err = p.assignment(first.text)
		case first.kind != keyword:
			err = p.fail("invalid statement")
		case first.text == "endmenu" || first.text == "endif" || first.text == "endchoice":
			if first.text != end {
				return Pos{}, p.fail("unexpected %s", first.text)
			}
			p.entry = nil
			return p.here(), p.done()
		default:
			err = p.statement(parent, first.text)
		}
		if err != nil {
			return Pos{}, err
		}
	}
}

// endsEntry are the keywords that end the entry before them.
var endsEntry = map[string]bool{
	"config": true, "menuconfig": true, "choice": true, "endchoice": true, "menu": true, "endmenu": true, "if": true, "endif": true,
	"comment": true, "source": true, "mainmenu": true,
}

// endEntry complains of a menuconfig without a prompt, as conf does, where what
// follows it begins.
func (p *parser) endEntry(next Pos) error {
	menu := p.menu
	p.menu = nil
	if menu == nil || menu.Prompt != nil {
		return nil
	}
	return p.mistake(p.StrictMenu, next, "menuconfig statement without prompt")
}

// mistake is an error to some confs, and a remark of others.
func (p *parser) mistake(refused bool, next Pos, format string, args ...any) error {
	if refused {
		return &Error{Pos: next, Problem: fmt.Sprintf(format, args...)}
	}
	p.remark(next, format, args...)
	return nil
}

// assignment gives a variable a value; nothing else begins with a name.
func (p *parser) assignment(name string) error {
	if len(p.tokens) > 1 && p.tokens[1].kind == punct {
		switch op := p.tokens[1].text; op {
		case "=", ":=", "+=":
			p.entry = nil
			return p.macros.assign(p.here(), name, op, p.value)
		}
	}
	return p.fail("unknown statement \"%s\"", name)
}

func (p *parser) statement(parent *Node, statement string) error {
	switch statement {
	case "config", "menuconfig":
		if statement == "menuconfig" && within(parent, Choice) {
			return p.fail("a menuconfig within a choice")
		}
		name, err := p.identifier()
		if err != nil {
			return err
		}
		if err := p.done(); err != nil {
			return err
		}
		n := p.add(parent, Config)
		if statement == "menuconfig" {
			n.Kind, p.menu = MenuConfig, n
		}
		n.Symbol = p.symbol(name, false)
		n.Symbol.Nodes = append(n.Symbol.Nodes, n)
		return nil
	case "source":
		name, err := p.str()
		if err != nil {
			return err
		}
		if err := p.done(); err != nil {
			return err
		}
		if strings.Contains(name, Pending) {
			return nil
		}
		return p.source(name, parent, p.here())
	case "if":
		cond, err := p.expr()
		if err != nil {
			return err
		}
		if err := p.done(); err != nil {
			return err
		}
		n := p.add(parent, If)
		n.Depends = []Depend{{cond, n.Pos}}
		p.entry = nil
		_, err = p.block(n, "endif")
		return err
	case "menu", "comment":
		if statement == "menu" && within(parent, Choice) {
			return p.fail("a menu within a choice")
		}
		text, err := p.str()
		if err != nil {
			return err
		}
		if err := p.done(); err != nil {
			return err
		}
		n := p.add(parent, Comment)
		n.Prompt = &Prompt{Text: p.prompt(text), Pos: n.Pos}
		if statement == "menu" {
			n.Kind = Menu
			_, err = p.block(n, "endmenu")
		}
		return err
	case "choice":
		if within(parent, Choice) {
			return p.fail("a choice within a choice")
		}
		n := p.add(parent, Choice)
		if p.i < len(p.tokens) && p.NamedChoice {
			name, err := p.identifier()
			if err != nil {
				return err
			}
			n.Symbol = p.symbol(name, false)
			n.Symbol.Nodes = append(n.Symbol.Nodes, n)
		}
		if err := p.done(); err != nil {
			return err
		}
		_, err := p.block(n, "endchoice")
		return err
	case "mainmenu":
		text, err := p.str()
		if err != nil {
			return err
		}
		if len(p.tree.Root.Children) > 0 || len(p.open) > 1 {
			return p.fail("mainmenu must be the first statement")
		}
		p.tree.Root.Prompt = &Prompt{Text: p.prompt(text), Pos: p.here()}
		p.entry = nil
		return p.done()
	}
	if p.entry == nil {
		return p.fail("unexpected option \"%s\"", statement)
	}
	return p.option(p.entry, statement)
}

// within tells whether a node or one around it is of a kind.
func within(n *Node, k Kind) bool {
	for ; n != nil; n = n.Parent {
		if n.Kind == k {
			return true
		}
	}
	return false
}

// add appends a node to the children of a parent; it takes the options that follow.
func (p *parser) add(parent *Node, k Kind) *Node {
	n := &Node{Kind: k, Pos: p.here(), Parent: parent}
	parent.Children = append(parent.Children, n)
	p.entry = n
	return n
}

func (p *parser) source(name string, parent *Node, from Pos) error {
	p.chain = append(p.chain, from)
	err := p.file(name, parent, from)
	p.chain = p.chain[:len(p.chain)-1]
	return err
}

// prompt trims a prompt as conf does, which warns of it.
func (p *parser) prompt(text string) string {
	if trimmed := strings.TrimLeft(text, " \t\v\f\r"); trimmed != text {
		p.warn(p.here(), "leading whitespace ignored")
		return trimmed
	}
	return text
}

// allowed are the options of the kinds of entries.
var allowed = map[Kind]map[string]bool{
	Menu:    {"depends": true, "visible": true},
	Comment: {"depends": true},
	Choice:  {"prompt": true, "depends": true, "default": true, "help": true, "optional": true, "bool": true, "tristate": true},
}

// option parses an attribute of an entry.
func (p *parser) option(n *Node, name string) error {
	if set := allowed[n.Kind]; set != nil && !set[name] || set == nil && (name == "optional" || name == "visible") {
		return p.fail("unexpected option \"%s\" of a %s", name, n.Kind)
	}
	at := p.here()
	switch name {
	case "bool", "tristate", "int", "hex", "string":
		if n.Kind == Choice && (name == "tristate" && !p.TristateChoice || name == "bool" && !p.ChoiceBool || p.i == len(p.tokens) && !p.ChoiceType) {
			return p.fail("unexpected \"%s\" of a choice", name)
		}
		defer p.setType(n, Type(slices.Index(typeNames[:], name)))
		if p.i < len(p.tokens) {
			return p.promptOption(n)
		}
	case "prompt":
		return p.promptOption(n)
	case "def_bool", "def_tristate", "default":
		switch name {
		case "def_bool":
			p.setType(n, Bool)
		case "def_tristate":
			p.setType(n, Tristate)
		}
		if n.Kind == Choice {
			member, err := p.identifier()
			if err != nil {
				return err
			}
			return p.property(n, &Property{Kind: Default, Pos: at, Value: &Expr{Op: Sym, Left: p.symbol(member, false)}})
		}
		value, err := p.expr()
		if err != nil {
			return err
		}
		return p.property(n, &Property{Kind: Default, Pos: at, Value: value})
	case "select", "imply":
		target, err := p.identifier()
		if err != nil {
			return err
		}
		kind := Select
		if name == "imply" {
			kind = Imply
		}
		return p.property(n, &Property{Kind: kind, Pos: at, Target: p.symbol(target, false)})
	case "range":
		low, err := p.operand()
		if err != nil {
			return err
		}
		high, err := p.operand()
		if err != nil {
			return err
		}
		return p.property(n, &Property{Kind: Range, Pos: at, Low: low, High: high})
	case "depends":
		if err := p.expect(keyword, "on"); err != nil {
			return err
		}
		e, err := p.expr()
		if err != nil {
			return err
		}
		if p.ConditionalOn {
			cond, err := p.cond()
			if err != nil {
				return err
			}
			if cond != nil {
				// Where the condition is m, too, the dependency counts.
				e = &Expr{Op: Or, X: e, Y: cond.equalsNo(p.symbol("n", true))}
			}
		}
		n.Depends = append(n.Depends, Depend{e, at})
	case "visible":
		if err := p.expect(keyword, "if"); err != nil {
			return err
		}
		e, err := p.expr()
		if err != nil {
			return err
		}
		n.Visible = append(n.Visible, e)
	case "help":
		if err := p.done(); err != nil {
			return err
		}
		return p.setHelp(n, p.help())
	case "optional":
		n.Optional = true
	case "transitional":
		n.Transitional = true
	case "modules":
		if p.OptionModules {
			return p.fail("invalid statement")
		}
		return p.modules(n)
	case "option":
		if p.i == len(p.tokens) {
			return p.fail("missing the name of an option")
		}
		p.i++
		switch which := p.tokens[p.i-1].text; {
		case which == "modules":
			return p.modules(n)
		case which == "defconfig_list" && p.DefconfigList:
			if d := p.tree.DefconfigList; d != nil && d != n.Symbol {
				return p.fail("symbol %s redefines option 'defconfig_list' already defined by symbol %s", n.Symbol.Name, d.Name)
			}
			p.tree.DefconfigList = n.Symbol
		case which == "allnoconfig_y" && p.DefconfigList:
			n.AllnoconfigY = true
		default:
			// option env changed what conf does with the symbol.
			return p.fail("option %s is not supported", which)
		}
	default:
		return p.fail("unexpected \"%s\"", name)
	}
	return p.done()
}

func (p *parser) modules(n *Node) error {
	if m := p.tree.Modules; m != nil && m != n.Symbol {
		return p.fail("symbol %s redefines option 'modules' already defined by symbol %s", n.Symbol.Name, m.Name)
	}
	p.tree.Modules = n.Symbol
	return p.done()
}

func (p *parser) setType(n *Node, t Type) {
	have := &n.Type
	if n.Kind != Choice {
		have = &n.Symbol.Type
	}
	if *have == NoType {
		*have = t
	} else if *have != t {
		p.warn(n.Pos, "ignoring type redefinition of '%s' from '%s' to '%s'", n.title(), longName(*have), longName(t))
	}
}

// setHelp gives an entry a help text, which has been read.
func (p *parser) setHelp(n *Node, text string) error {
	next := Pos{p.name, p.line}
	if n.helped {
		if err := p.mistake(p.StrictHelp, next, "'%s' defined with more than one help text -- only the last one will be used", n.title()); err != nil {
			return err
		}
	}
	if strings.Trim(text, " \f\n\r\t\v") == "" {
		if err := p.mistake(p.StrictHelp, next, "'%s' defined with blank help text", n.title()); err != nil {
			return err
		}
	}
	n.help, n.helped = text, true
	return nil
}

// title is the name of an entry in warnings.
func (n *Node) title() string {
	if n.Symbol == nil {
		return "<choice>"
	}
	return n.Symbol.Name
}

// longName is a type's name in warnings.
func longName(t Type) string {
	if t == Int {
		return "integer"
	}
	return t.String()
}

func (p *parser) promptOption(n *Node) error {
	text, err := p.str()
	if err != nil {
		return err
	}
	prompt := &Prompt{Text: p.prompt(text), Pos: p.here()}
	if n.Prompt != nil {
		p.warn(p.here(), "prompt redefined")
		n.Earlier = append(n.Earlier, n.Prompt)
	}
	n.Prompt = prompt
	if n.Prompt.Cond, err = p.cond(); err != nil {
		return err
	}
	return p.done()
}

// property adds a property to an entry, with the condition that follows.
func (p *parser) property(n *Node, q *Property) error {
	var err error
	if q.Cond, err = p.cond(); err != nil {
		return err
	}
	n.Properties = append(n.Properties, q)
	return p.done()
}

// done makes sure that the statement ends.
func (p *parser) done() error {
	if p.i < len(p.tokens) {
		return p.fail("unexpected \"%s\"", p.tokens[p.i].text)
	}
	return nil
}

// take returns the next token, if it is of a kind.
func (p *parser) take(k tokenKind, what string) (string, error) {
	if p.i == len(p.tokens) {
		return "", p.fail("missing %s", what)
	}
	t := p.tokens[p.i]
	if t.kind != k {
		return "", p.fail("unexpected \"%s\" instead of %s", t.text, what)
	}
	p.i++
	return t.text, nil
}

func (p *parser) identifier() (string, error) { return p.take(word, "a name") }
func (p *parser) str() (string, error)        { return p.take(quoted, "a quoted text") }

// peek tells whether the next token is this one.
func (p *parser) peek(k tokenKind, text string) bool {
	return p.i < len(p.tokens) && p.tokens[p.i].kind == k && p.tokens[p.i].text == text
}

func (p *parser) expect(k tokenKind, text string) error {
	if !p.peek(k, text) {
		if p.i < len(p.tokens) {
			return p.fail("unexpected \"%s\" instead of \"%s\"", p.tokens[p.i].text, text)
		}
		return p.fail("missing \"%s\"", text)
	}
	p.i++
	return nil
}

// cond parses what may follow as if EXPR.
func (p *parser) cond() (*Expr, error) {
	if !p.peek(keyword, "if") {
		return nil, nil
	}
	p.i++
	return p.expr()
}

func (p *parser) expr() (*Expr, error) { return p.binary("||", Or, p.conjunction) }

func (p *parser) conjunction() (*Expr, error) { return p.binary("&&", And, p.term) }

// binary parses operands of an operator that associates to the left.
func (p *parser) binary(text string, op Op, operand func() (*Expr, error)) (*Expr, error) {
	x, err := operand()
	if err != nil {
		return nil, err
	}
	for p.peek(punct, text) {
		p.i++
		y, err := operand()
		if err != nil {
			return nil, err
		}
		x = &Expr{Op: op, X: x, Y: y}
	}
	return x, nil
}

// maxNesting bounds the recursion for parentheses, negations and blocks.
const maxNesting = 1000

func (p *parser) term() (*Expr, error) {
	nots := 0
	for p.peek(punct, "!") {
		p.i++
		nots++
	}
	var x *Expr
	var err error
	if p.peek(punct, "(") {
		p.nesting++
		if p.nesting > maxNesting {
			return nil, p.fail("the expression is nested too deep")
		}
		p.i++
		if x, err = p.expr(); err != nil {
			return nil, err
		}
		p.nesting--
		if err := p.expect(punct, ")"); err != nil {
			return nil, err
		}
	} else if x, err = p.comparison(); err != nil {
		return nil, err
	}
	if nots > maxNesting {
		return nil, p.fail("the expression is nested too deep")
	}
	for ; nots > 0; nots-- {
		x = &Expr{Op: Not, X: x}
	}
	return x, nil
}

// comparison parses a symbol or two that are compared.
func (p *parser) comparison() (*Expr, error) {
	left, err := p.operand()
	if err != nil {
		return nil, err
	}
	if p.i < len(p.tokens) && p.tokens[p.i].kind == punct {
		if op := slices.Index(opNames[:], p.tokens[p.i].text); op >= int(Equal) {
			p.i++
			right, err := p.operand()
			if err != nil {
				return nil, err
			}
			return &Expr{Op: Op(op), Left: left, Right: right}, nil
		}
	}
	return &Expr{Op: Sym, Left: left}, nil
}

func (p *parser) operand() (*Symbol, error) {
	if p.i < len(p.tokens) && p.tokens[p.i].kind == quoted {
		p.i++
		return p.symbol(p.tokens[p.i-1].text, true), nil
	}
	name, err := p.take(word, "a symbol")
	if err != nil {
		return nil, err
	}
	return p.symbol(name, false), nil
}

// unsafeString is the text of bytes that nobody changes any more.
func unsafeString(data []byte) string { return unsafe.String(unsafe.SliceData(data), len(data)) }
