// SPDX-License-Identifier: GPL-3.0-only

// Package trust decides whose files may say which programs run-kernel runs. A
// kernel tree, a build directory and a configuration file do; so they must belong
// to the user, to root, or be named by the user as trusted. Precedent is git's
// safe.directory (CVE-2022-24765).
package trust
