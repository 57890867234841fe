// SPDX-License-Identifier: GPL-3.0-only

package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/google/shlex"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/pflag"
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
		fl, err := readFile(f)
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
	return l, l.validate()
}

// files lists the configuration files that exist, the weaker first.
func (s Sources) files() ([]string, error) {
	var files []string
	if p := userFile(s.Environ); p != "" {
		if _, err := os.Stat(p); err == nil {
			files = append(files, p)
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
			files = append(files, p)
		} else if !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("configuration: %w", err)
		}
	}
	return files, nil
}

func userFile(environ []string) string {
	dir := getenv(environ, "XDG_CONFIG_HOME")
	if dir == "" {
		home := getenv(environ, "HOME")
		if home == "" {
			return ""
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "run-kernel", FileName)
}

func getenv(environ []string, name string) string {
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

func readFile(path string) (layer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return layer{}, fmt.Errorf("configuration: %w", err)
	}
	// Into the struct, for the positions of unknown keys and wrong types.
	var strict Config
	d := toml.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&strict); err != nil {
		return layer{}, fileError(path, err)
	}
	var tables map[string]map[string]any
	if err := toml.Unmarshal(data, &tables); err != nil {
		return layer{}, fileError(path, err)
	}
	l := newLayer()
	for _, k := range keys {
		_, name, _ := strings.Cut(k.name, ".")
		if _, ok := tables[k.table][name]; !ok {
			continue
		}
		l.values[k.name] = k.resolve(k.value(&strict), filepath.Dir(path))
		l.origins[k.name] = Origin{fmt.Sprintf("%s:%d", path, lineOf(data, k.table, name))}
	}
	return l, nil
}

// lineOf finds the line of a key in a valid file; 0 when it is written in a way
// that this doesn't understand.
func lineOf(data []byte, table, name string) int {
	current, n := "", 0
	for l := range strings.Lines(string(data)) {
		n++
		l = strings.TrimSpace(l)
		if strings.HasPrefix(l, "[") {
			current = strings.Trim(l, "[] \t")
			continue
		}
		left, _, ok := strings.Cut(l, "=")
		left = strings.Trim(left, " \t\"'")
		if ok && (current == table && left == name || current == "" && left == table+"."+name) {
			return n
		}
	}
	return 0
}

func fileError(path string, err error) error {
	var missing *toml.StrictMissingError
	if errors.As(err, &missing) {
		var errs []error
		for _, e := range missing.Errors {
			line, column := e.Position()
			name := strings.Join(e.Key(), ".")
			errs = append(errs, &ValueError{
				Where:   fmt.Sprintf("%s:%d:%d", path, line, column),
				Problem: fmt.Sprintf("unknown key %q", name), hint: didYouMean(name),
			})
		}
		return errors.Join(errs...)
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		line, column := decode.Position()
		return &ValueError{
			Where:   fmt.Sprintf("%s:%d:%d", path, line, column),
			Problem: strings.TrimPrefix(decode.Error(), "toml: "),
			hint:    "the format is TOML; run-kernel.cfg in run-kernel's source shows every key",
		}
	}
	return fmt.Errorf("%s: %w", path, err)
}

// kernelVariables are the variables that the kernel's make knows.
var kernelVariables = map[string]string{
	"KBUILD_OUTPUT": "build.output", "ARCH": "build.arch", "CROSS_COMPILE": "build.cross_compile", "LLVM": "build.llvm", "CC": "build.cc",
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
		if !strings.HasPrefix(name, "RUN_KERNEL_") || strings.HasPrefix(name, "RUN_KERNEL_TEST_") {
			continue
		}
		i := slices.IndexFunc(keys, func(k key) bool { return k.variable() == name })
		if i < 0 {
			wanted := strings.ToLower(strings.Replace(strings.TrimPrefix(name, "RUN_KERNEL_"), "_", ".", 1))
			hint := ""
			if k, ok := nearest(wanted); ok {
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
// split as a shell splits words.
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
		if k.name == "run.userland" && strings.Contains(v, "/") && !filepath.IsAbs(v) {
			return filepath.Join(dir, v)
		}
	case []string:
		if k.path != "" {
			v = slices.Clone(v)
			for i, p := range v {
				if !filepath.IsAbs(p) {
					v[i] = filepath.Join(dir, p)
				}
			}
			return v
		}
	}
	return value
}

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
	}
	if u := l.Run.Userland; u != "auto" && u != "host" && !strings.Contains(u, "/") {
		bad(keyNamed("run.userland"), fmt.Sprintf("%q isn't auto, host or a path with a slash", u))
	}
	return errors.Join(errs...)
}
