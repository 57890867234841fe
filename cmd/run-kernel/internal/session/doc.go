// SPDX-License-Identifier: GPL-3.0-only

// Package session is run-kernel at work on one build directory: it holds the
// directory, prepares and builds the kernel, boots it, shows the guest to other
// terminals, and reacts to its end. Once makes one turn, Loop one for each change.
//
// It knows no command line. Its caller loads the configuration, gives it a
// Terminal and a sink for events, and maps errors to exit statuses.
package session
