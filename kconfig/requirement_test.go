// SPDX-License-Identifier: GPL-3.0-only

package kconfig

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMet(t *testing.T) {
	for _, c := range []struct {
		want Want
		yes  []string
		no   []string
	}{
		{Want{Value: "y"}, []string{"y"}, []string{"m", "n", "", "Y", `"y"`}},
		{Want{Value: "m"}, []string{"m"}, []string{"y", "n", ""}},
		{Want{Value: "y", Module: true}, []string{"y", "m"}, []string{"n", ""}},
		{Want{Value: "n"}, []string{"n", ""}, []string{"y", "m", "0", `""`}},
		{Want{Value: "8", Min: true}, []string{"8", "9", "10", "0x8", "008"}, []string{"7", "-8", "", "n", `"8"`, "y", "0b1000"}},
		{Want{Value: "0xffffffff80000000", Min: true}, []string{"0xffffffff80000000", "0xFFFFFFFF80000001"}, []string{"0x7fffffffffffffff", "1"}},
		{Want{Value: "-1", Min: true}, []string{"-1", "0", "5"}, []string{"-2"}},
		{Want{Value: "0x1A"}, []string{"0x1A", "0x1a", "26"}, []string{"0x1b", "1A", ""}},
		{Want{Value: "10"}, []string{"10", "010"}, []string{"8", "11"}},
		{Want{Value: `"utf8"`}, []string{`"utf8"`}, []string{"utf8", `"utf-8"`, `""`, ""}},
		{Want{Value: `""`}, []string{`""`}, []string{"", "n"}},
		// As conf reads them.
		{Want{Value: `"ab"`}, []string{`"a\b"`, `"ab"c`}, []string{`"a\\b"`, `"ab`, `"ab\`, `"`}},
		{Want{Value: `"a\"\\b"`}, []string{`"a\"\\\b"`}, []string{`"a"`, `"a\"b"`}},
	} {
		for _, v := range c.yes {
			if !c.want.Met(v) {
				t.Errorf("%q doesn't meet %s", v, c.want)
			}
		}
		for _, v := range c.no {
			if c.want.Met(v) {
				t.Errorf("%q meets %s", v, c.want)
			}
		}
	}
}

func TestParseRequire(t *testing.T) {
	for text, want := range map[string]Requirement{
		"KASAN=y":           {Symbol: "KASAN", Want: Want{Value: "y"}},
		"CONFIG_KASAN=y":    {Symbol: "KASAN", Want: Want{Value: "y"}},
		" KASAN = y ":       {Symbol: "KASAN", Want: Want{Value: "y"}},
		"DRM=y|m":           {Symbol: "DRM", Want: Want{Value: "y", Module: true}},
		"DRM=m|y":           {Symbol: "DRM", Want: Want{Value: "y", Module: true}},
		"DRM=m":             {Symbol: "DRM", Want: Want{Value: "m"}},
		"KASLR=n":           {Symbol: "KASLR", Want: Want{Value: "n"}},
		"KASLR?=n":          {Symbol: "KASLR", Want: Want{Value: "n"}, Optional: true},
		"DRM?=y|m":          {Symbol: "DRM", Want: Want{Value: "y", Module: true}, Optional: true},
		"NR_CPUS>=8":        {Symbol: "NR_CPUS", Want: Want{Value: "8", Min: true}},
		"NR_CPUS >= 8":      {Symbol: "NR_CPUS", Want: Want{Value: "8", Min: true}},
		"BASE=0x1000":       {Symbol: "BASE", Want: Want{Value: "0x1000"}},
		"HZ=-1":             {Symbol: "HZ", Want: Want{Value: "-1"}},
		`NLS_DEFAULT="u=8"`: {Symbol: "NLS_DEFAULT", Want: Want{Value: `"u=8"`}},
		`X="a\"b\\"`:        {Symbol: "X", Want: Want{Value: `"a\"b\\"`}},
		`X="a\b"`:           {Symbol: "X", Want: Want{Value: `"ab"`}},
		`X=""`:              {Symbol: "X", Want: Want{Value: `""`}},
	} {
		want.Group, want.Why = "require", "asked for"
		got, err := ParseRequire(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	for _, text := range []string{
		"", "KASAN", "KASAN=", "=y", "KASAN=yes", "KASAN=Y", "KASAN==y", "KA SAN=y", "X=text", `X="open`, `X="a"b"`, `X="a\"`, "X>=y", `X>="8"`,
		"X>=", "X=0x", "X=1.5", "X=y|n", "X<=8", "X=\"a\rb\"", "X=\"a\nCONFIG_Y=y\"", "X=y\nCONFIG_Y=y", "X=\"a\x00\"", "X=\"\\\n\"",
	} {
		if got, err := ParseRequire(text); err == nil {
			t.Errorf("%q: got %+v, want an error", text, got)
		}
	}
}

func TestMerge(t *testing.T) {
	require := func(texts ...string) []Requirement {
		var list []Requirement
		for _, text := range texts {
			r, err := ParseRequire(text)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, r)
		}
		return list
	}
	for _, c := range []struct {
		a, b, want string // want is empty for a conflict
	}{
		{"A=y", "A=y", "A=y"},
		{"A=y|m", "A=y", "A=y"},
		{"A=y", "A=y|m", "A=y"},
		{"A=y|m", "A=m", "A=m"},
		{"A=m", "A=y|m", "A=m"},
		{"A=y|m", "A=y|m", "A=y|m"},
		{"A>=8", "A>=4", "A>=8"},
		{"A>=4", "A>=8", "A>=8"},
		{"A>=4", "A=8", "A=8"},
		{"A=8", "A>=4", "A=8"},
		{"A>=8", "A=8", "A=8"},
		{"A=8", "A>=8", "A=8"},
		{"A=0x8", "A=8", "A=0x8"},
		{"A>=8", "A=4", ""},
		{"A=4", "A>=8", ""},
		{"A=y", "A=m", ""},
		{"A=y", "A=n", ""},
		{"A=n", "A=y|m", ""},
		{`A="x"`, `A="y"`, ""},
		{"A?=y", "A=n", "A=n"},
		{"A=n", "A?=y", "A=n"},
		{"A?=y", "A=y", "A=y"},
		{"A=y|m", "A?=y", "A=y|m"},
		{"A?=y", "A=y|m", "A=y|m"},
		{"A?=y|m", "A?=y", "A?=y"},
		{"A?=y", "A?=n", "A?=n"},
	} {
		got, err := Merge(require(c.a), require(c.b))
		if c.want == "" {
			var conflict *ConflictError
			if !errors.As(err, &conflict) {
				t.Errorf("%s and %s: got %v %v, want a conflict", c.a, c.b, got, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s and %s: %v", c.a, c.b, err)
		} else if diff := cmp.Diff(require(c.want), got); diff != "" {
			t.Errorf("%s and %s: %s", c.a, c.b, diff)
		}
	}
	got, err := Merge(require("A=y", "B=y"), nil, require("C=n", "A=y"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(require("A=y", "B=y", "C=n"), got); diff != "" {
		t.Errorf("the order: %s", diff)
	}
}

func TestMergeKeepsTheReasonOfTheStricter(t *testing.T) {
	weak := Requirement{Symbol: "A", Want: Want{Value: "y", Module: true}, Group: "weak", Why: "w"}
	strict := Requirement{Symbol: "A", Want: Want{Value: "y"}, Group: "strict", Why: "s"}
	for _, order := range [][]Requirement{{weak, strict}, {strict, weak}} {
		got, err := Merge(order)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]Requirement{strict}, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestCheck(t *testing.T) {
	f := parse(t, "CONFIG_A=m\n# CONFIG_B is not set\n")
	requirements := []Requirement{
		{Symbol: "A", Want: Want{Value: "y"}}, {Symbol: "B", Want: Want{Value: "n"}}, {Symbol: "C", Want: Want{Value: "y"}, Optional: true},
	}
	want := []Result{
		{Requirement: requirements[0], Have: "m"},
		{Requirement: requirements[1], Have: "n", Met: true},
		{Requirement: requirements[2]},
	}
	if diff := cmp.Diff(want, Check(f, requirements)); diff != "" {
		t.Error(diff)
	}
}
