// SPDX-License-Identifier: GPL-3.0-only

package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"github.com/go-viper/mapstructure/v2"
	"github.com/google/shlex"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"github.com/spf13/pflag"

	"github.com/metaspace/run-kernel/internal/grant"
	"github.com/metaspace/run-kernel/internal/pattern"
	"github.com/metaspace/run-kernel/internal/trust"
)

// FileName is the configuration's name in a tree.
const FileName = "run-kernel.cfg"

// Sources are where a configuration comes from.
type Sources struct {
	TreeDir    string   // has run-kernel.cfg, or not; empty: no tree
	ConfigFile string   // instead of the tree's; it must exist
	Dir        string   // the working directory, for relative paths
	Environ    []string // as os.Environ
	Flags      *pflag.FlagSet
	Trust      trust.Policy // as FindTrust returns it
}

// An Origin is where a value comes from.
type Origin struct {
	Text string // default, --flag, $VARIABLE, file:line
}

// Loaded is a configuration and the origins of its values.
type Loaded struct {
	Config
	origins map[string]Origin
	Files   []string // that were read
}

// Origin tells where the value of a key such as "run.smp" comes from.
func (l *Loaded) Origin(name string) string {
	if o, ok := l.origins[name]; ok {
		return o.Text
	}
	return "default"
}

// A layer is what one source sets: typed values by key, and their origins.
type layer struct {
	values  map[string]any
	origins map[string]Origin
}

func newLayer() layer { return layer{map[string]any{}, map[string]Origin{}} }

// Load reads all sources. Errors name file, line and column, or the variable or
// flag, and carry hints.
func Load(s Sources) (*Loaded, error) {
	l := &Loaded{Config: Default(), origins: map[string]Origin{}}
	var layers []layer
	files, err := s.files()
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		tree := s.ConfigFile == "" && s.TreeDir != "" && f == filepath.Join(s.TreeDir, FileName)
		fl, err := readFile(f, f == userFile(s.Environ), tree)
		if err != nil {
			return nil, err
		}
		l.Files = append(l.Files, f)
		layers = append(layers, fl)
	}
	el, err := readEnviron(s.Environ, s.Dir)
	if err != nil {
		return nil, err
	}
	layers = append(layers, el)
	if s.Flags != nil {
		fl, err := readFlags(s.Flags, s.Dir)
		if err != nil {
			return nil, err
		}
		layers = append(layers, fl)
	}
	merged := koanf.New(".")
	for _, layer := range layers {
		layer.complete(merged)
		k := koanf.New(".")
		if err := k.Load(confmap.Provider(layer.values, "."), nil); err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
		if err := merged.Merge(k); err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
		for name, o := range layer.origins {
			l.origins[name] = o
		}
	}
	err = merged.UnmarshalWithConf("", &l.Config, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		TagName: "koanf", ErrorUnused: true, ZeroFields: true,
	}})
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	l.Trust = s.Trust.Dirs
	return l, l.validate()
}

// complete lets the memory_gib of a layer count more than the memory of a weaker one.
func (l layer) complete(weaker *koanf.Koanf) {
	const gib, size = "run.memory_gib", "run.memory"
	_, hasGiB := l.values[gib]
	_, hasSize := l.values[size]
	if hasGiB && !hasSize && weaker.String(size) != "" {
		l.values[size], l.origins[size] = "", l.origins[gib]
	}
}

// files lists the configuration files that exist, the weaker first.
func (s Sources) files() ([]string, error) {
	var files []string
	if p := userFile(s.Environ); p != "" {
		if _, err := os.Stat(p); err == nil {
			files = append(files, p)
		} else if !absent(err) && !errors.Is(err, os.ErrPermission) { // after su, $HOME may be another's
			return nil, fmt.Errorf("configuration: %w", err)
		}
	}
	if s.ConfigFile != "" {
		p := s.ConfigFile
		if !filepath.IsAbs(p) {
			p = filepath.Join(s.Dir, p)
		}
		return append(files, p), nil
	}
	if s.TreeDir != "" {
		p := filepath.Join(s.TreeDir, FileName)
		if _, err := os.Stat(p); err == nil {
			if err := s.Trust.Check("configuration", s.TreeDir, FileName); err != nil {
				return nil, err
			}
			files = append(files, p)
		} else if !absent(err) {
			return nil, fmt.Errorf("configuration: %w", err)
		}
	}
	return files, nil
}

func absent(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) }

// userFile is the user's own file. The XDG Base Directory Specification says to
// ignore a relative path.
func userFile(environ []string) string {
	dir := Getenv(environ, "XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		home := Getenv(environ, "HOME")
		if !filepath.IsAbs(home) {
			return "" // what is below the working directory may be somebody else's
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "run-kernel", FileName)
}

// Getenv looks a variable up in an environment as os.Environ returns it: the last
// one of a name counts, and one that isn't there is empty.
func Getenv(environ []string, name string) string {
	for _, e := range slices.Backward(environ) {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// A ValueError is a value that can't be, or a key that isn't known.
type ValueError struct {
	Where   string // file:line:column, $VARIABLE or --flag
	Problem string
	hint    string
}

func (e *ValueError) Error() string { return e.Where + ": " + e.Problem }

// Hint is a next step, or empty.
func (e *ValueError) Hint() string { return e.hint }

// readFile reads the user's own file, a tree's, or another one.
func readFile(path string, own, tree bool) (layer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return layer{}, fmt.Errorf("configuration: %w", err)
	}
	// Into the struct, for the positions of unknown keys and wrong types.
	var strict Config
	d := toml.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&strict); err != nil {
		return layer{}, fileError(path, data, err)
	}
	l := newLayer()
	var errs []error
	for _, w := range writtenKeys(data) {
		where := fmt.Sprintf("%s:%d", path, w.start.Line)
		if strings.Join(w.name, ".") == trustKey {
			if !own {
				errs = append(errs, &ValueError{Where: where, Problem: "only your own configuration file may say what is trusted", hint: "it is $XDG_CONFIG_HOME/run-kernel/" + FileName + ", or ~/.config/run-kernel/" + FileName})
			}
			continue
		}
		i := slices.IndexFunc(keys, func(k key) bool { return k.name == strings.Join(w.name, ".") })
		if i < 0 {
			// The decoder takes SMP for smp.
			errs = append(errs, unknownKey(path, w.start.Line, w.start.Column, w.name))
			continue
		}
		k := keys[i]
		if k.kind == durationType && w.value != unstable.String && k.value(&strict) != Duration(0) {
			// The decoder takes a number for nanoseconds.
			errs = append(errs, noDuration(where, k))
			continue
		}
		l.values[k.name] = k.resolve(k.value(&strict), filepath.Dir(path))
		if k.name == "run.flake" && tree && strict.Run.Flake == DefaultFlake {
			// What Print has written names no other flake than no line does.
			l.values[k.name] = DefaultFlake
		}
		l.origins[k.name] = Origin{where}
	}
	return l, errors.Join(errs...)
}

// A writtenKey is a key in a file.
type writtenKey struct {
	name  []string
	start unstable.Position
	value unstable.Kind
}

// writtenKeys lists the keys of a valid file, and where they are.
func writtenKeys(data []byte) []writtenKey {
	var list []writtenKey
	var p unstable.Parser
	p.Reset(data)
	var add func(prefix []string, n *unstable.Node)
	add = func(prefix []string, n *unstable.Node) {
		w := writtenKey{name: slices.Clone(prefix)}
		first := true
		for it := n.Key(); it.Next(); {
			part := it.Node()
			w.name = append(w.name, string(part.Data))
			if first {
				w.start, first = p.Shape(part.Raw).Start, false
			}
		}
		v := n.Value()
		w.value = v.Kind
		if v.Kind == unstable.InlineTable {
			for it := v.Children(); it.Next(); {
				add(w.name, it.Node())
			}
			return
		}
		list = append(list, w)
	}
	var table []string
	for p.NextExpression() {
		switch n := p.Expression(); n.Kind {
		case unstable.Table:
			table = nil
			for it := n.Key(); it.Next(); {
				table = append(table, string(it.Node().Data))
			}
		case unstable.KeyValue:
			add(table, n)
		}
	}
	return list
}

func unknownKey(path string, line, column int, name []string) error {
	return &ValueError{
		Where:   fmt.Sprintf("%s:%d:%d", path, line, column),
		Problem: fmt.Sprintf("unknown key %q", strings.Join(name, ".")), hint: didYouMean(name),
	}
}

func noDuration(where string, k key) error {
	return &ValueError{Where: where, Problem: k.name + ` isn't a duration such as "500ms", "10s" or "2m"`}
}

func fileError(path string, data []byte, err error) error {
	var missing *toml.StrictMissingError
	if errors.As(err, &missing) {
		var errs []error
		for _, e := range missing.Errors {
			line, column := e.Position()
			errs = append(errs, unknownKey(path, line, column, e.Key()))
		}
		return errors.Join(errs...)
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		line, column := decode.Position()
		return &ValueError{
			Where:   fmt.Sprintf("%s:%d:%d", path, line, column),
			Problem: mistyped(strings.TrimPrefix(decode.Error(), "toml: ")),
			hint:    "the format is TOML; run-kernel.cfg in run-kernel's source shows every key",
		}
	}
	// The decoder doesn't say which 1.5 or true is no duration.
	for _, w := range writtenKeys(data) {
		i := slices.IndexFunc(keys, func(k key) bool { return k.name == strings.Join(w.name, ".") })
		if i >= 0 && keys[i].kind == durationType && (w.value == unstable.Float || w.value == unstable.Bool) {
			return noDuration(fmt.Sprintf("%s:%d", path, w.start.Line), keys[i])
		}
	}
	return fmt.Errorf("%s: %w", path, err)
}

var typeMismatch = pattern.New(`^cannot decode TOML ([\w ]+) into struct field .+ of type (\S+)$`)

// mistyped says in TOML's words what the library says in Go's.
func mistyped(problem string) string {
	switch {
	case strings.HasPrefix(problem, "cannot store a table in "):
		return "this key is no table"
	case strings.HasPrefix(problem, "cannot store an array table in "):
		return "this table is written with one pair of brackets"
	}
	m := typeMismatch.FindStringSubmatch(problem)
	if m == nil {
		return problem
	}
	want, ok := map[string]string{
		"string": "a string in quotes", "int": "a whole number", "bool": "true or false", "[]string": `a list: ["…", "…"]`,
		"config.Duration": `a duration such as "500ms", "10s" or "2m"`,
	}[m[2]]
	if !ok {
		want = "a table"
	}
	return fmt.Sprintf("the value is of type %s, and should be %s", m[1], want)
}

// kernelVariables are the variables that the kernel's make takes from the
// environment. CC isn't one of them: the Makefile sets it, and a build with
// another compiler than that of a plain make would rebuild everything.
var kernelVariables = map[string]string{
	"KBUILD_OUTPUT": "build.output", "ARCH": "build.arch", "CROSS_COMPILE": "build.cross_compile", "LLVM": "build.llvm",
}

func readEnviron(environ []string, dir string) (layer, error) {
	l := newLayer()
	set := func(k key, name, value string) error {
		v, err := k.parse(value)
		if err != nil {
			return &ValueError{Where: "$" + name, Problem: err.Error()}
		}
		l.values[k.name] = k.resolve(v, dir)
		l.origins[k.name] = Origin{"$" + name}
		return nil
	}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if target, ok := kernelVariables[name]; ok && value != "" {
			if err := set(keyNamed(target), name, value); err != nil {
				return l, err
			}
		}
	}
	var errs []error
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, "RUN_KERNEL_") || strings.HasPrefix(name, "RUN_KERNEL_TEST_") || name == trust.Variable {
			continue
		}
		i := slices.IndexFunc(keys, func(k key) bool { return k.variable() == name })
		if i < 0 {
			hint := ""
			if k, ok := nearestVariable(name); ok {
				hint = "did you mean " + k.variable() + "?"
			}
			errs = append(errs, &ValueError{Where: "$" + name, Problem: "unknown variable", hint: hint})
			continue
		}
		errs = append(errs, set(keys[i], name, value))
	}
	return l, errors.Join(errs...)
}

func keyNamed(name string) key {
	return keys[slices.IndexFunc(keys, func(k key) bool { return k.name == name })]
}

// parse turns the text of a variable or a flag into the key's type. Lists are
// split as a shell splits words, but for the kernel's arguments, which have
// quotes of their own.
func (k key) parse(text string) (any, error) {
	switch k.kind.Kind() {
	case reflect.Int:
		if k.kind == durationType {
			break
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not a number", text)
		}
		return n, nil
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("%q is neither true nor false", text)
		}
		return b, nil
	case reflect.Slice:
		if k.name == "run.kernel_extra_args" {
			return kernelWords(text)
		}
		words, err := shlex.Split(text)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		return words, nil
	case reflect.String:
		return text, nil
	}
	var d Duration
	return d, d.UnmarshalText([]byte(text))
}

// kernelWords splits a kernel's command line as next_arg() in lib/cmdline.c does,
// and leaves the quotes for it.
func kernelWords(text string) ([]string, error) {
	quoted := false
	words := strings.FieldsFunc(text, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && unicode.IsSpace(r)
	})
	if quoted {
		return nil, fmt.Errorf("%q: a quotation mark is open", text)
	}
	return words, nil
}

// resolve makes the paths of a value absolute.
func (k key) resolve(value any, dir string) any {
	switch v := value.(type) {
	case string:
		if k.path == "tool" && !strings.Contains(v, "/") {
			return v
		}
		if k.path != "" && v != "" && !filepath.IsAbs(v) {
			return filepath.Join(dir, v)
		}
		switch {
		case k.name == "run.userland" && strings.Contains(v, "/") && !filepath.IsAbs(v):
			return filepath.Join(dir, v)
		case k.name == "run.flake":
			return resolveFlake(v, dir)
		}
	case []string:
		if k.name == "run.share" {
			v = slices.Clone(v)
			for i, s := range v {
				v[i] = grant.ResolveShare(s, dir)
			}
			return v
		}
		if k.name == "run.disk" {
			v = slices.Clone(v)
			for i, d := range v {
				v[i] = grant.ResolveDisk(d, dir)
			}
			return v
		}
		if k.path != "" {
			v = slices.Clone(v)
			for i, p := range v {
				if p != "" && !filepath.IsAbs(p) { // an empty one isn't the directory
					v[i] = filepath.Join(dir, p)
				}
			}
			return v
		}
	}
	return value
}

// hostname is what the kernel takes (__NEW_UTS_LEN), and programs get along with.
var hostname = pattern.New(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// buildHost is what both ssh and rsync take for a machine, and nothing for an option.
var buildHost = pattern.New(`^[A-Za-z0-9_][A-Za-z0-9_.@-]*$`)

// validate looks at the values that have limits.
func (l *Loaded) validate() error {
	var errs []error
	bad := func(k key, problem string) {
		errs = append(errs, &ValueError{Where: l.Origin(k.name), Problem: fmt.Sprintf("%s: %s", k.name, problem)})
	}
	for _, k := range keys {
		v := k.value(&l.Config)
		if values, ok := allowed[k.name]; ok && !slices.Contains(values, v.(string)) {
			bad(k, fmt.Sprintf("%q isn't one of %s", v, strings.Join(values, ", ")))
		}
		if n, ok := least[k.name]; ok && v.(int) < n {
			bad(k, fmt.Sprintf("%d is less than %d", v, n))
		}
		if paths, ok := v.([]string); ok && (k.path != "" || k.name == "run.hide") && slices.Contains(paths, "") {
			bad(k, `"" is no path`)
		}
	}
	if u := l.Run.Userland; !slices.Contains(Userlands, u) && !strings.Contains(u, "/") {
		bad(keyNamed("run.userland"), fmt.Sprintf("%q isn't %s or a path with a slash", u, strings.Join(Userlands, ", ")))
	}
	if n := l.Run.MemoryGiB; n > maxMemory>>10 {
		bad(keyNamed("run.memory_gib"), fmt.Sprintf("no guest has %d GiB of memory", n))
	}
	if size := l.Run.Memory; size != "" {
		if _, err := parseSize(size); err != nil {
			bad(keyNamed("run.memory"), err.Error())
		}
	}
	if h := l.Run.Hostname; !hostname.MatchString(h) {
		bad(keyNamed("run.hostname"), fmt.Sprintf("%q isn't a host name: up to 64 letters, digits, hyphens, dots and underscores", h))
	}
	if h := l.Build.Host; h != "" && !buildHost.MatchString(h) {
		bad(keyNamed("build.host"), fmt.Sprintf("%q isn't a machine, as in buildbox or me@10.0.0.7; ~/.ssh/config sets its port and the like", h))
	}
	if l.Build.Host != "" && len(l.Build.External) > 0 {
		bad(keyNamed("build.host"), "modules outside of the tree (build.external) aren't built on another machine")
	}
	for _, class := range l.Verdict.Fail {
		if !slices.Contains(ReportClasses, class) {
			bad(keyNamed("verdict.fail"), fmt.Sprintf("%q isn't one of %s", class, strings.Join(ReportClasses, ", ")))
		}
	}
	for _, expr := range l.Verdict.Allow {
		if _, err := regexp.Compile(expr); err != nil {
			bad(keyNamed("verdict.allow"), err.Error())
		}
	}
	if err := grant.CheckShares(l.Run.Share); err != nil {
		errs = append(errs, &ValueError{Where: l.Origin("run.share"), Problem: "run.share: " + err.Error(), hint: grant.ShareHint})
	}
	if err := grant.CheckDisks(l.Run.Disk); err != nil {
		errs = append(errs, &ValueError{Where: l.Origin("run.disk"), Problem: "run.disk: " + err.Error(), hint: grant.DiskHint})
	}
	if err := grant.CheckForwards(l.Run.Forward, l.Run.Network != "none"); err != nil {
		errs = append(errs, &ValueError{Where: l.Origin("run.forward"), Problem: "run.forward: " + err.Error(), hint: grant.ForwardHint})
	}
	return errors.Join(errs...)
}
