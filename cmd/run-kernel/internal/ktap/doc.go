// SPDX-License-Identifier: GPL-3.0-only

// Package ktap reads test results in KTAP and TAP 13 or 14, as the kernel's KUnit and
// its selftests print them, and writes them as JUnit XML, KTAP and JSON.
//
// A Parser takes output while it comes, and calls back for each test. It judges as the
// kernel's own tools/testing/kunit/kunit_parser.py does, and differs where that can't
// go on or can't see:
//
//   - Indentation ends a group of tests that says nothing at its own end.
//   - A plan may come last, as TAP allows it.
//   - A failing test with the directive TODO or XFAIL isn't a failure.
//   - A group that says "not ok" has failed, also when each of its tests passed. One
//     whose result never came has crashed.
//   - What a selftest prints behind "# " is read too, if the caller wants that.
//
// Its memory is bounded, whatever it reads; see the constants Max….
//
// The format is described in Documentation/dev-tools/ktap.rst of the kernel.
package ktap
