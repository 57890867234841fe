// SPDX-License-Identifier: GPL-3.0-only

package boottest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"strings"
)

// Module makes the file of a kernel module that has nothing but what it says of itself:
// words such as "vermagic=6.1.0 SMP", and a build id in hexadecimal, which may be empty.
func Module(buildID string, info ...string) []byte {
	id, err := hex.DecodeString(buildID)
	if err != nil {
		panic(err)
	}
	var note []byte
	if len(id) > 0 {
		note = binary.LittleEndian.AppendUint32(note, 4)
		note = binary.LittleEndian.AppendUint32(note, uint32(len(id)))
		note = binary.LittleEndian.AppendUint32(note, 3)
		note = append(append(note, "GNU\x00"...), id...)
	}
	names := []string{"", ".modinfo", ".note.gnu.build-id", ".shstrtab"}
	table := []byte(strings.Join(names, "\x00") + "\x00")
	contents := [][]byte{nil, []byte(strings.Join(info, "\x00") + "\x00"), note, table}
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Ehsize: 64, Shentsize: 64,
		Shnum: uint16(len(names)), Shstrndx: uint16(len(names) - 1),
	}
	var body []byte
	sections := make([]elf.Section64, len(names))
	name := 0
	for i, data := range contents {
		if i > 0 {
			sections[i] = elf.Section64{Name: uint32(name), Type: uint32(elf.SHT_PROGBITS), Off: uint64(64 + len(body)), Size: uint64(len(data)), Addralign: 1}
		}
		body = append(body, data...)
		name += len(names[i]) + 1
	}
	sections[len(sections)-1].Type = uint32(elf.SHT_STRTAB)
	header.Shoff = uint64(64 + len(body))
	var file bytes.Buffer
	for _, part := range []any{header, body, sections} {
		if err := binary.Write(&file, binary.LittleEndian, part); err != nil {
			panic(err)
		}
	}
	return file.Bytes()
}
