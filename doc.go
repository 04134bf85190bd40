// Package brink is the root of the project. It holds no code, only the tests that keep the repository's own rules.
//
// The words that the whole project uses, with no synonyms, are in docs/design.md. What the packages are, and which may
// import which, is in CONTRIBUTING.md.
package brink
