// SPDX-License-Identifier: GPL-3.0-only

package model

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// A Dialect says in what the conf of a kernel differs from others. Kernels take
// changes back to stable versions, so that it's found in scripts/kconfig and not
// by a version.
type Dialect struct {
	syntax.Dialect
	// Buckets is the size of the hash table in whose order conf visits symbols.
	Buckets int
	// Priority: the member of a choice that a .config sets last is taken, and a
	// default that it sets to n isn't; all choices are bool. Since 6.11.
	Priority bool
	// Zero: a number without a value is 0. Since 6.11.
	Zero bool
	// ResetRange: a number out of its range is forgotten when it's read, and not
	// only moved into it; so is what isn't visible.
	ResetRange bool
	// LooseNotSet: what follows "# CONFIG_X is not set" in its line doesn't matter.
	LooseNotSet bool
	// BrokenUnequal: X!=y of a bool X is read through a wrong pointer.
	BrokenUnequal bool
	// Folds: y and n in expressions are always dropped. Since 6.12.
	Folds bool
	// LooseComment: what follows the # of "# CONFIG_X is not set" doesn't matter.
	LooseComment bool
	// Stripped: the ends of lines of a .config are cut off before they're looked at.
	Stripped bool
	// MenuOrder: all*config goes through the symbols of the menus, and leaves the
	// members of choices alone.
	MenuOrder bool
	// EndsEmpty: an empty menu, too, has a line that says where it ends. Since 5.15
	// or so.
	EndsEmpty bool
	// SilentNotSet: "# CONFIG_X is not set" says nothing of a number. Until 5.10 or
	// so.
	SilentNotSet bool
	// Carried: a value that comes from a transitional symbol counts as the user's.
	Carried bool
	// LonePrompt: a member of a choice has no prompt but that in the choice.
	LonePrompt bool
	// NegativeEnds: what can be had only without a symbol isn't moved below it.
	NegativeEnds bool
	// ChangedInput: with KCONFIG_WARN_CHANGED_INPUT in the environment, values that
	// come out other than they were read are warned of.
	ChangedInput bool
}

// A NotTreeError says what is missing in what should be a kernel's tree.
type NotTreeError struct{ Dir, Missing string }

func (e *NotTreeError) Error() string {
	return fmt.Sprintf("%s has no %s: it isn't a kernel's source tree", e.Dir, e.Missing)
}

// Hint says where to look for it.
func (e *NotTreeError) Hint() string {
	return "name the top of a whole kernel source; in one, git status tells what was deleted, and git restore brings it back"
}

var hashSize = pattern.New(`(?m)^#define\s+SYMBOL_HASHSIZE\s+(?:\(1U?\s*<<\s*(\d+)\)|(\d+))`)

// DetectDialect finds the dialect of the kernel in a directory.
func DetectDialect(srctree string) (Dialect, error) {
	if _, err := os.Stat(filepath.Join(srctree, "scripts/kconfig")); os.IsNotExist(err) {
		return Dialect{}, &NotTreeError{srctree, "scripts/kconfig"}
	}
	text := map[string]string{}
	needed := []string{"lexer.l", "parser.y", "symbol.c", "confdata.c", "conf.c", "expr.c", "expr.h"}
	// The others have what came later, as internal.h in 5.15 or so.
	for _, name := range append(needed, "internal.h", "menu.c", "util.c") {
		data, err := os.ReadFile(filepath.Join(srctree, "scripts/kconfig", name))
		if os.IsNotExist(err) && !slices.Contains(needed, name) {
			continue
		}
		if os.IsNotExist(err) {
			return Dialect{}, &NotTreeError{srctree, "scripts/kconfig/" + name}
		}
		if err != nil {
			return Dialect{}, err
		}
		text[name] = string(data)
	}
	has := func(name, what string) bool { return strings.Contains(text[name], what) }
	d := Dialect{
		Dialect: syntax.Dialect{
			NamedChoice:    has("parser.y", "T_CHOICE word_opt"),
			OptionalChoice: has("lexer.l", `"optional"`),
			TristateChoice: !has("symbol.c", "choice_members"),
			ChoiceType:     has("parser.y", "choice_option: logic_type"),
			ChoiceBool:     has("parser.y", "choice_option: logic_type") || has("parser.y", "choice_option: T_BOOL"),
			OptionModules:  !has("parser.y", "config_option: T_MODULES"),
			Option:         has("lexer.l", `"option"`),
			DefconfigList:  has("lexer.l", `"defconfig_list"`),
			StrictHelp:     has("parser.y", `zconf_error("'%s' defined with more than one help text`),
			StrictMenu:     has("parser.y", `zconf_error("menuconfig statement without prompt`),
			SourcedOnce:    has("util.c", "repeated inclusion"),
			Transitional:   has("lexer.l", `"transitional"`),
			ConditionalOn:  has("parser.y", "T_DEPENDS T_ON expr if_expr"),
			LastNewline:    !has("lexer.l", "current_buf = xmalloc(sizeof(*current_buf))"),
			NamelessEnd:    has("parser.y", "zconf_curname"),
		},
		Priority:     has("symbol.c", "choice_members"),
		Zero:         has("symbol.c", `"0x0"`),
		ResetRange:   has("confdata.c", "sym_string_within_range"),
		LooseNotSet:  has("confdata.c", `strncmp(p, "is not set"`),
		LooseComment: !has("confdata.c", "line[1] != ' '"),
		// A negation of a symbol that is taken for an expression.
		BrokenUnequal: strings.Count(text["expr.c"], "e = expr_alloc_one(E_NOT, e->left.expr);") > 0,
		Folds:         has("expr.c", "expr_hashtable"),
		Stripped:      has("confdata.c", "getline_stripped"),
		MenuOrder:     has("conf.c", "menu_for_each_entry"),
		EndsEmpty:     has("confdata.c", "end_check:"),
		SilentNotSet:  !has("confdata.c", `val = "n";`),
		Carried:       has("symbol.c", "SYMBOL_TRANS) && sym_has_value"),
		LonePrompt:    has("parser.y", "choice value must not have a prompt in another entry"),
		NegativeEnds:  has("menu.c", "expr_contains_symbol_negated"),
		ChangedInput:  has("confdata.c", "KCONFIG_WARN_CHANGED_INPUT"),
	}
	match := hashSize.FindStringSubmatch(text["expr.h"] + text["internal.h"])
	switch {
	case match == nil:
		return Dialect{}, fmt.Errorf("%s: no SYMBOL_HASHSIZE: a conf that isn't known", filepath.Join(srctree, "scripts/kconfig"))
	case match[1] != "":
		n, _ := strconv.Atoi(match[1])
		d.Buckets = 1 << min(n, 30)
	default:
		d.Buckets, _ = strconv.Atoi(match[2])
	}
	if d.Buckets <= 0 {
		d.Buckets = 1
	}
	return d, nil
}

// order sorts the symbols as conf visits them: by the buckets of its hash table,
// in each the latest first. The hash is FNV-1a.
func (m *Model) order() {
	chains := make([]*Symbol, m.dialect.Buckets)
	next := make([]*Symbol, m.size)
	for _, s := range m.symbols {
		if s.constant {
			continue
		}
		hash := uint32(2166136261)
		for i := range len(s.Name) {
			hash = (hash ^ uint32(s.Name[i])) * 16777619
		}
		if s.Name == "" {
			hash = 0
		}
		chain := &chains[hash%uint32(len(chains))]
		next[s.index], *chain = *chain, s
	}
	m.hashed = make([]*Symbol, 0, len(m.symbols))
	for _, s := range chains {
		for ; s != nil; s = next[s.index] {
			m.hashed = append(m.hashed, s)
		}
	}
}
