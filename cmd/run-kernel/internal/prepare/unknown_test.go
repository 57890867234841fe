// SPDX-License-Identifier: GPL-3.0-only

package prepare

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metaspace/run-kernel/internal/event"
	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model/modeltest"
)

// A misspelt option in .config is told of before conf drops it.
func TestUnknownOptions(t *testing.T) {
	const text = "config KCSAN\n\tbool \"kcsan\"\nconfig KASAN\n\tbool \"kasan\"\n\tdepends on NOWHERE\nconfig PRINTK\n\tbool \"printk\"\n"
	m := modeltest.New(t, text)
	for _, c := range []struct {
		name, config string
		want         []event.Event
	}{
		{"known", "CONFIG_KASAN=y\n# CONFIG_PRINTK is not set\n", nil},
		{"off", "# CONFIG_KSAN is not set\nCONFIG_KSANN=y\n# CONFIG_KSANN is not set\n", nil},
		{"misspelt", "CONFIG_KSAN=y\n", []event.Event{event.Warning{Text: ".config sets KSAN, and this kernel has no such option; it drops it", Hint: "did you mean KASAN or KCSAN?"}}},
		{"only mentioned", "CONFIG_NOWHERE=m\n", []event.Event{event.Warning{Text: ".config sets NOWHERE, and this kernel has no such option; it drops it"}}},
		{"of another kernel", "CONFIG_A1=y\nCONFIG_A2=1\nCONFIG_A3=m\nCONFIG_A4=\"x\"\nCONFIG_A5=y\nCONFIG_A6=y\nCONFIG_PRINTK=y\n", []event.Event{
			event.Notice{Text: "6 options in .config aren't options of this kernel, such as A1 and A2; it drops them"},
		}},
	} {
		f, err := kconfig.Parse(".config", []byte(c.config))
		if err != nil {
			t.Fatal(err)
		}
		var got []event.Event
		k := &Kernel{Events: func(e event.Event) { got = append(got, e) }}
		k.tellUnknown(f, m)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}
