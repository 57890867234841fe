// SPDX-License-Identifier: GPL-3.0-only

package kmake

import (
	"path/filepath"
	"slices"
	"strings"
)

// functions are those of make that work on words, by their names. They get their
// arguments as they are written.
var functions map[string]func(f *file, args []string) string

func init() {
	functions = map[string]func(f *file, args []string) string{
		"addprefix": words(2, func(a []string, w string) string { return a[0] + w }),
		"addsuffix": words(2, func(a []string, w string) string { return w + a[0] }),
		"patsubst": words(3, func(a []string, w string) string {
			return substitute(strings.TrimSpace(a[0]), strings.TrimSpace(a[1]), w)
		}),
		"filter": words(2, func(a []string, w string) string {
			if matchesAny(a[0], w) {
				return w
			}
			return ""
		}),
		"filter-out": words(2, func(a []string, w string) string {
			if matchesAny(a[0], w) {
				return ""
			}
			return w
		}),
		"notdir": words(1, func(_ []string, w string) string { return w[strings.LastIndexByte(w, '/')+1:] }),
		"dir": words(1, func(_ []string, w string) string {
			if i := strings.LastIndexByte(w, '/'); i >= 0 {
				return w[:i+1]
			}
			return "./"
		}),
		"strip":   words(1, func(_ []string, w string) string { return w }),
		"abspath": words(1, func(_ []string, w string) string { return w }),
		"basename": words(1, func(_ []string, w string) string {
			return strings.TrimSuffix(w, filepath.Ext(w))
		}),
		"subst": func(f *file, args []string) string {
			if len(args) < 3 {
				return ""
			}
			return strings.ReplaceAll(f.expand(strings.Join(args[2:], ",")), f.expand(args[0]), f.expand(args[1]))
		},
		"sort": func(f *file, args []string) string {
			list := strings.Fields(f.expand(args[0]))
			slices.Sort(list)
			return strings.Join(slices.Compact(list), " ")
		},
		"wildcard": func(f *file, args []string) string {
			var found []string
			for w := range strings.FieldsSeq(f.expand(args[0])) {
				pattern := w
				if !filepath.IsAbs(w) {
					pattern = filepath.Join(f.source, w)
				}
				names, _ := filepath.Glob(pattern)
				for _, n := range names {
					if !filepath.IsAbs(w) {
						n, _ = strings.CutPrefix(n, f.source+"/")
					}
					found = append(found, n)
				}
			}
			return strings.Join(found, " ")
		},
		"if": func(f *file, args []string) string {
			switch {
			case strings.TrimSpace(f.expand(args[0])) != "":
				return f.expand(append(args, "")[1])
			case len(args) > 2:
				return f.expand(strings.Join(args[2:], ","))
			}
			return ""
		},
		"or": func(f *file, args []string) string {
			for _, a := range args {
				if text := strings.TrimSpace(f.expand(a)); text != "" {
					return text
				}
			}
			return ""
		},
		"and": func(f *file, args []string) string {
			text := ""
			for _, a := range args {
				if text = strings.TrimSpace(f.expand(a)); text == "" {
					return ""
				}
			}
			return text
		},
		"foreach": func(f *file, args []string) string {
			if len(args) < 3 {
				return ""
			}
			name := strings.TrimSpace(f.expand(args[0]))
			old, known := f.vars[name]
			var list []string
			for w := range strings.FieldsSeq(f.expand(args[1])) {
				f.vars[name] = variable{text: w}
				list = append(list, f.expand(strings.Join(args[2:], ",")))
			}
			if f.vars[name] = old; !known {
				delete(f.vars, name)
			}
			return strings.Join(list, " ")
		},
		"firstword": func(f *file, args []string) string { return at(f, args, 0) },
		"lastword":  func(f *file, args []string) string { return at(f, args, -1) },
	}
}

// words is a function that does something to each word of its last argument.
func words(count int, do func(args []string, word string) string) func(*file, []string) string {
	return func(f *file, args []string) string {
		if len(args) < count {
			return ""
		}
		last := f.expand(strings.Join(args[count-1:], ","))
		args = slices.Clone(args[:count-1])
		for i := range args {
			args[i] = f.expand(args[i])
		}
		return each(last, func(w string) string { return do(args, w) })
	}
}

// each is a list with something done to each of its words.
func each(list string, do func(string) string) string {
	var out []string
	for w := range strings.FieldsSeq(list) {
		if w = do(w); w != "" {
			out = append(out, w)
		}
	}
	return strings.Join(out, " ")
}

// at is a word of a list.
func at(f *file, args []string, i int) string {
	list := strings.Fields(f.expand(args[0]))
	if len(list) == 0 {
		return ""
	}
	if i < 0 {
		i += len(list)
	}
	return list[i]
}

// substitute replaces a word that matches a pattern with one %.
func substitute(from, to, word string) string {
	stem, ok := match(from, word)
	if !ok {
		return word
	}
	return strings.Replace(to, "%", stem, 1)
}

func match(pattern, word string) (stem string, ok bool) {
	before, after, any := strings.Cut(pattern, "%")
	if !any {
		return "", pattern == word
	}
	if len(word) < len(before)+len(after) || !strings.HasPrefix(word, before) || !strings.HasSuffix(word, after) {
		return "", false
	}
	return word[len(before) : len(word)-len(after)], true
}

func matchesAny(patterns, word string) bool {
	for p := range strings.FieldsSeq(patterns) {
		if _, ok := match(p, word); ok {
			return true
		}
	}
	return false
}
