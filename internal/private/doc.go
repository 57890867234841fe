// SPDX-License-Identifier: GPL-3.0-only

// Package private keeps directories and files that are the user's alone: of mode
// 0700 and 0600, and reached without following links, so that neither another user
// nor an unpacked archive can have them lead elsewhere.
package private
