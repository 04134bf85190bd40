package channel

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestRefusedError_EveryCodeCanBeProvoked has a row for each code, and finds in the source whether one is missing.
func TestRefusedError_EveryCodeCanBeProvoked(t *testing.T) {
	org := trust(t, acme(), "root")
	beta := shop(t, "beta-1", "1.4.0")
	good := sign(t, beta, "ci")

	verify := func(raw []byte) error {
		_, err := org.VerifyManifest(raw, now)
		return err
	}
	if err := verify(good); err != nil {
		t.Fatalf("the manifest that the rows spoil is refused itself: %v", err)
	}
	with := func(change func(*Manifest), signers ...string) error {
		m := *beta
		change(&m)
		return verify(sign(t, &m, signers...))
	}
	rows := map[Code]func() error{
		CodeTooLarge:  func() error { return verify(make([]byte, MaxManifest+1)) },
		CodeMalformed: func() error { return verify(append(bytes.Clone(good), '\n')) },
		CodeUnknownSchema: func() error {
			return verify(forge(t, TypeManifest, edit(t, payload(t, good), map[string]any{"schema": 2}), "ci"))
		},
		CodeWrongType: func() error { return verify(must(SignIntent(intent(), key("ci")))(t)) },

		CodeUnknownKey:          func() error { return verify(sign(t, beta, "mallory")) },
		CodeBadSignature:        func() error { return verify(flipPayload(t, good, 40)) },
		CodeNotEnoughSignatures: func() error { return with(func(m *Manifest) { m.Channel = "production" }, "ann") },
		CodeWrongRole:           func() error { return verify(sign(t, beta, "root")) },
		CodeWrongOrg:            func() error { return with(func(m *Manifest) { m.Org = "initech" }, "ci") },
		CodeWrongApp:            func() error { return verify(sign(t, beta, "bank")) },
		CodeWrongChannel:        func() error { return with(func(m *Manifest) { m.Channel = "production" }, "ci") },

		CodeExpired: func() error {
			return with(func(m *Manifest) { m.Issued, m.Expires = now.Add(-time.Hour), now }, "ci")
		},
		CodeNotYetValid: func() error {
			return with(func(m *Manifest) { m.Issued = now.Add(MaxSkew + time.Second) }, "ci")
		},
		CodeTrustExpired: func() error {
			c := acme()
			c.Expires = now.Add(time.Hour)
			_, err := trust(t, c, "root").VerifyManifest(good, now.Add(time.Hour))
			return err
		},

		CodeSequenceNotHigher: func() error {
			return Newer(signed(t, shop(t, "beta-1", "1.3.0", "1.4.0")), signed(t, beta))
		},
		CodeWrongEpoch: func() error { return with(func(m *Manifest) { m.Sequence = EpochSize + 1 }, "ci") },
		CodeSequenceJump: func() error {
			m := *must(beta.Publish(release("1.5.0"), now))(t)
			m.Sequence += MaxJump
			return Newer(signed(t, beta), signed(t, &m))
		},
		CodeNeedsUpdate: func() error {
			m := *beta
			m.Critical = []string{"plan"}
			return m.CheckKnown()
		},
		CodeTrustVersionNotHigher: func() error {
			_, err := trust(t, org.Next().at(now), "root").Accept(org.Raw(), now)
			return err
		},
		CodeEquivocation: func() error { return Newer(signed(t, shop(t, "beta-1", "1.3.0")), signed(t, beta)) },
		CodeDowngrade: func() error {
			_, err := beta.Publish(release("1.3.9"), now)
			return err
		},
		CodeVersionTaken: func() error {
			r := release("1.4.0")
			r.Bundle = release("another").Bundle
			_, err := beta.Publish(r, now)
			return err
		},
		CodeNotInHistory: func() error {
			_, err := beta.RollBack("1.3.0", now)
			return err
		},
		CodeRolloutRunning: func() error {
			rolling := must(beta.Roll(release("1.5.0"), Rollout{}, now))(t)
			_, err := rolling.Roll(release("1.6.0"), Rollout{}, now)
			return err
		},
		CodeNoRollout: func() error {
			_, err := beta.CompleteRollout(now)
			return err
		},
	}
	for code, provoke := range rows {
		err := provoke()
		wantCode(t, err, code)
		if refused, ok := errors.AsType[*RefusedError](err); ok && refused.Reason == "" {
			t.Errorf("%s comes without a reason", code)
		}
	}
	for _, code := range codes(t) {
		if rows[code] == nil {
			t.Errorf("no row provokes %s", code)
		}
	}
}

// at sets the time of issue, which Next leaves to the caller.
func (c TrustConfig) at(issued time.Time) TrustConfig {
	c.Issued = issued
	return c
}

// codes returns the values of the Code constants in the source.
func codes(t *testing.T) (found []Code) {
	file := must(parser.ParseFile(token.NewFileSet(), "refused.go", nil, 0))(t)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Code" {
			text := must(strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value))(t)
			found = append(found, Code(text))
		}
		return false
	})
	if len(found) == 0 {
		t.Fatal("found no codes in refused.go")
	}
	return found
}

func TestCodeOf_LooksThroughWrapping(t *testing.T) {
	err := fmt.Errorf("publish: %w", refuse(CodeExpired, "", "too late"))
	wantCode(t, err, CodeExpired)
	wantCode(t, errors.New("disk full"), "")
	wantCode(t, nil, "")
}

func TestRefusedError_ReasonIsBounded(t *testing.T) {
	raw := forge(t, strings.Repeat("é", MaxIntent/4), nil)
	_, err := ParseManifest(raw)
	wantCode(t, err, CodeWrongType)
	if n := len(err.Error()); n > maxReason+100 {
		t.Errorf("a stranger's document makes an error of %d bytes", n)
	}
}
