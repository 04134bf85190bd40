package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
	"brink/node"
	"brink/protocol"
)

// doctor walks the way that a device goes to an update, one step after the other, and says what is wrong on it.
type doctor struct {
	node, app, channel string
	ionic              string // the app's ID in Appflow
	capgo              string // path of Capgo's protocol
	device             protocol.Device
	trust              *channel.Trust // nil: signatures are not checked

	http   *http.Client
	now    func() time.Time
	steps  []step
	failed error             // of the first step that failed
	served *channel.Manifest // what the node serves, once that is known
}

// step is one step of the way, as doctor prints it.
type step struct {
	Step   string `json:"step"`
	Result string `json:"result"` // ok, failed or skipped
	Detail string `json:"detail,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

// clockLeeway is how far apart the clocks of a node and a device may be. Manifests may be ten minutes ahead.
const clockLeeway = 5 * time.Minute

func doctorCommand(sh *shell) *cobra.Command {
	d := &doctor{now: time.Now}
	var trust, platform string
	var timeout time.Duration
	cmd := verb("doctor", "Walk the way of a device to an update, and say what is wrong on it",
		`It asks the node as devices do: is it there, is its certificate good, are the clocks together, what does the
channel have for such a device, is that signed, does the archive come, and a patch, and what do the plugins of Capgo
and of Appflow get. Nothing is changed or installed. The exit code is that of the first step that failed.`,
		`
  brink doctor --node https://updates.acme.com --app com.acme.shop --channel production --trust acme.trust.json
  brink doctor … --platform ios --native-version 2.1.0 --json`,
		func(cmd *cobra.Command, _ []string) error {
			if err := checkNodes(cmd, d.node); err != nil {
				return err
			}
			if trust != "" {
				raw, err := readTrust(trust)
				if err != nil {
					return err
				}
				if d.trust, err = channel.LoadTrust(raw); err != nil {
					return fmt.Errorf("%s: %w", trustName(trust), err)
				}
			}
			d.node, d.device.Platform = strings.TrimRight(d.node, "/"), channel.Platform(platform)
			if d.ionic == "" {
				d.ionic = d.app
			}
			transport := ownTransport()
			transport.DisableCompression = true
			defer transport.CloseIdleConnections()
			d.http = clientOf(transport)
			d.http.Timeout = timeout
			d.walk(cmd.Context())
			if err := sh.show(struct {
				Node  string `json:"node"`
				OK    bool   `json:"ok"`
				Steps []step `json:"steps"`
			}{d.node, d.failed == nil, d.steps}, d.text); err != nil {
				return err
			}
			return d.failed
		})
	flags := cmd.Flags()
	flags.StringVar(&d.node, "node", "", "`URL` of a node")
	flags.StringVar(&d.app, "app", "", "`NAME` of the app")
	flags.StringVar(&d.channel, "channel", "", "`NAME` of the channel")
	trustFlag(cmd, &trust, "the org's trust document, a `FILE` or the document itself; without it nothing is checked")
	flags.StringVar(&d.device.ID, "device-id", "", "`ID` of the device")
	flags.StringVar(&platform, "platform", string(channel.Android), "`NAME` of the platform of the device")
	flags.StringVar(&d.device.Native, "native-version", "1.0.0", "`VERSION` of the native app around the bundle")
	flags.StringVar(&d.ionic, "appflow-id", "", "`ID` of the app in Ionic Appflow (default: its name)")
	flags.StringVar(&d.capgo, "capgo", node.DefaultCapgo, "`PATH` of the node for Capgo's plugin, as serve has it")
	flags.DurationVar(&timeout, "timeout", 10*time.Second, "how long to wait for each answer")
	required(cmd, "node", "app", "channel")
	sh.printsJSON(cmd)
	return cmd
}

// walk takes the steps. Without a node there is none but the first; the others are taken whatever came before.
func (d *doctor) walk(ctx context.Context) {
	var date string
	d.take("reach", func() (string, error) {
		answer, err := d.ask(ctx, http.MethodGet, "/readyz", nil)
		if err != nil {
			return "", withHint(err, "%s", reachHint(err))
		}
		date = answer.head.Get("Date")
		var ready node.Readiness
		switch {
		case json.Unmarshal(answer.body, &ready) != nil:
			return "", protocol.ReadProblem(answer.status, answer.body)
		case answer.status != http.StatusOK:
			return "", &unwellError{url: d.node, reasons: ready.Reasons}
		case len(ready.Reasons) > 0:
			return "it serves, but: " + strings.Join(ready.Reasons, ", "), nil
		}
		return "the node is ready", nil
	})
	if d.failed != nil {
		return
	}
	d.take("tls", func() (string, error) {
		if !strings.HasPrefix(d.node, "https://") {
			return "", skip{"the address is http: phones refuse it unless the app says otherwise"}
		}
		return "the certificate is good for this name", nil
	})
	d.take("clock", func() (string, error) { return d.clock(date) })
	d.take("check", func() (string, error) { return d.check(ctx) })
	d.take("signature", d.signature)
	d.take("archive", func() (string, error) { return d.archive(ctx) })
	d.take("patch", func() (string, error) { return d.patch(ctx) })
	d.take("capgo", func() (string, error) { return d.askCapgo(ctx) })
	d.take("appflow", func() (string, error) { return d.askAppflow(ctx) })
}

// skip is why a step is not taken.
type skip struct{ why string }

func (s skip) Error() string { return s.why }

// take takes a step and notes how it went.
func (d *doctor) take(name string, do func() (string, error)) {
	detail, err := do()
	s := step{Step: name, Result: "ok", Detail: detail}
	if skipped, ok := errors.AsType[skip](err); ok {
		s.Result, s.Detail = "skipped", skipped.why
	} else if err != nil {
		r := describe(err)
		s.Result, s.Detail, s.Hint = "failed", r.Message, r.Hint
		if d.failed == nil {
			d.failed = err
		}
	}
	d.steps = append(d.steps, s)
}

func (d *doctor) text(w io.Writer) {
	for _, s := range d.steps {
		fmt.Fprintf(w, "%-8s %-10s %s\n", s.Result, s.Step, s.Detail)
		if s.Hint != "" {
			fmt.Fprintf(w, "%-19s hint: %s\n", "", s.Hint)
		}
	}
}

// heard is an answer with its whole body, up to a bound.
type heard struct {
	status int
	head   http.Header
	body   []byte
}

func (d *doctor) ask(ctx context.Context, method, path string, body any, fields ...string) (heard, error) {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return heard{}, err
		}
		fields = append(fields, "Content-Type", "application/json")
	}
	resp, err := call(ctx, d.http, method, d.node+path, raw, fields...)
	if err != nil {
		return heard{}, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, protocol.MaxCheckAnswer))
	return heard{status: resp.StatusCode, head: resp.Header, body: got}, err
}

// reachHint says what to do about a node that does not answer.
func reachHint(err error) string {
	if _, unknown := errors.AsType[*net.DNSError](err); unknown {
		return "the name of the node is not known here: look at its DNS record"
	}
	if wrong, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		if late, ok := errors.AsType[x509.CertificateInvalidError](wrong.Err); ok && late.Reason == x509.Expired {
			return "the certificate has expired, or this machine's clock is wrong"
		}
		if _, ok := errors.AsType[x509.HostnameError](wrong.Err); ok {
			return "the certificate is for another name: ask by that name, or get one for this"
		}
		return "devices take only certificates of public authorities: is the chain in --tls-cert complete?"
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return "the node does not speak TLS there: ask by http, or give it --tls-cert and --tls-key"
	}
	return "is the node running, is the address right, and does a firewall let devices through?"
}

func (d *doctor) clock(date string) (string, error) {
	there, err := http.ParseTime(date)
	if err != nil {
		return "", skip{"the node does not tell its time"}
	}
	if apart := d.now().Sub(there); apart.Abs() > clockLeeway {
		by := apart.Abs().Round(time.Second)
		return "", withHint(fmt.Errorf("the clocks of the node and of this machine are %s apart", by),
			"manifests that are new or about to expire are judged by the clock: have both keep time by NTP")
	}
	return "the clocks are together", nil
}

func (d *doctor) check(ctx context.Context) (string, error) {
	request := protocol.CheckRequest{Channel: d.channel, Device: d.device}
	got, err := d.ask(ctx, http.MethodPost, protocol.CheckPath(d.app), request)
	if err != nil {
		return "", err
	}
	if got.status != http.StatusOK {
		return "", protocol.ReadProblem(got.status, got.body)
	}
	var answer protocol.CheckAnswer
	if err := json.Unmarshal(got.body, &answer); err != nil {
		return "", protocol.ReadProblem(got.status, got.body)
	}
	if d.served, err = channel.ParseManifest(answer.Manifest); err != nil {
		return "", fmt.Errorf("the manifest that came with the answer: %w", err)
	}
	switch {
	case answer.Release != nil:
		return fmt.Sprintf("such a device gets %s: %s", answer.Release.Version, answer.Decision), nil
	case answer.Reason != "":
		return fmt.Sprintf("such a device gets nothing: %s (brink channel explain tells more)", answer.Reason), nil
	}
	return fmt.Sprintf("such a device gets nothing: %s", answer.Decision), nil
}

// noManifest is why a step is skipped that needs what an earlier one did not get.
const noManifest = "there is no manifest to go by"

func (d *doctor) signature() (string, error) {
	switch {
	case d.served == nil:
		return "", skip{noManifest}
	case d.trust == nil:
		return "", skip{"give the org's trust document with --trust"}
	}
	m, err := d.trust.VerifyManifest(d.served.Raw(), d.now())
	if err == nil {
		err = m.CheckFor(d.app, d.channel)
	}
	if err != nil {
		return "", err
	}
	if !m.Expires.IsZero() && !m.Expires.After(d.now()) {
		return "", withHint(fmt.Errorf("the manifest expired on %s", m.Expires.Format(time.RFC3339)),
			"publish to the channel, which makes a new one")
	}
	detail := fmt.Sprintf("sequence %d is signed by who may", m.Sequence)
	if channel.EndsSoon(m.Issued, m.Expires, d.now()) {
		detail += ", and ends on " + moment(m.Expires) + ": renew it with brink channel renew"
	}
	if at := d.trust.Expires(); channel.EndsSoon(d.trust.Issued(), at, d.now()) {
		detail += "; the trust document ends on " + moment(at)
	}
	return detail, nil
}

func (d *doctor) archive(ctx context.Context) (string, error) {
	if d.served == nil {
		return "", skip{noManifest}
	}
	got, err := d.ask(ctx, http.MethodGet, protocol.ArchivePath(d.served.Release.Bundle), nil, "Range", "bytes=0-511")
	switch {
	case err != nil:
		return "", err
	case got.status == http.StatusPartialContent && len(got.body) == 512:
		return fmt.Sprintf("the first bytes of %d of version %s came", d.served.Release.Size, d.served.Release.Version), nil
	case got.status == http.StatusOK:
		return "", withHint(errors.New("the whole came in the place of a part"),
			"something before the node takes Range away: downloads that are cut begin anew")
	}
	return "", protocol.ReadProblem(got.status, got.body)
}

func (d *doctor) patch(ctx context.Context) (string, error) {
	if d.served == nil {
		return "", skip{noManifest}
	}
	if len(d.served.History) == 0 {
		return "", skip{"the channel has served one release only"}
	}
	old := d.served.History[0]
	got, err := d.ask(ctx, http.MethodHead, protocol.ArchivePath(d.served.Release.Bundle), nil,
		"Accept-Encoding", "dcz, zstd", "Available-Dictionary", old.SHA256.Field())
	switch {
	case err != nil:
		return "", err
	case got.status != http.StatusOK:
		return "", protocol.ReadProblem(got.status, got.body)
	case got.head.Get("Content-Encoding") != "dcz":
		return "none from " + old.Version + " yet: it was not worth it, or is being made; devices get the whole", nil
	}
	return fmt.Sprintf("%s bytes from %s", got.head.Get("Content-Length"), old.Version), nil
}

// askCapgo asks as Capgo's plugin does. That there is nothing new is an answer like another.
func (d *doctor) askCapgo(ctx context.Context) (string, error) {
	got, err := d.ask(ctx, http.MethodPost, strings.TrimRight(d.capgo, "/")+"/updates", map[string]any{
		"platform": d.device.Platform, "device_id": d.deviceID(), "app_id": d.app, "custom_id": "", "plugin_version": "8.0.0",
		"version_build": d.device.Native, "version_code": "1", "version_os": "14", "version_name": "builtin",
		"is_emulator": false, "is_prod": true, "defaultChannel": d.channel,
	})
	if err != nil {
		return "", err
	}
	var answer struct{ Version, URL, Error, Message string }
	if err := json.Unmarshal(got.body, &answer); err != nil || got.status != http.StatusOK {
		return "", protocol.ReadProblem(got.status, got.body)
	}
	if answer.URL != "" {
		return "the plugin gets " + answer.Version, nil
	}
	return fmt.Sprintf("the plugin gets nothing: %s %s", answer.Error, answer.Message), nil
}

// askAppflow asks as Ionic's plugins do, from a page of another origin.
func (d *doctor) askAppflow(ctx context.Context) (string, error) {
	path := "/appflow/apps/" + url.PathEscape(d.ionic) + "/channels/check-device"
	got, err := d.ask(ctx, http.MethodPost, path, map[string]any{
		"channel_name": d.channel, "app_id": d.ionic, "plugin_version": "5.5.3", "manifest": true,
		"device": map[string]any{
			"binary_version": d.device.Native, "device_id": d.deviceID(), "platform": d.device.Platform,
		},
	}, "Origin", "http://localhost")
	if err != nil {
		return "", err
	}
	var answer struct {
		Data  *struct{ Available bool }
		Error struct{ Message, Type string }
	}
	if json.Unmarshal(got.body, &answer) != nil || got.status == http.StatusOK && answer.Data == nil {
		return "", protocol.ReadProblem(got.status, got.body)
	}
	if origin := got.head.Get("Access-Control-Allow-Origin"); origin != "*" {
		return "", withHint(fmt.Errorf("the answer may be read by the origin %q only", origin),
			"something before the node changes Access-Control-Allow-Origin: WebViews need *")
	}
	switch {
	case got.status != http.StatusOK:
		return "", &protocol.Problem{Status: got.status, Code: answer.Error.Type, Message: answer.Error.Message}
	case answer.Data.Available:
		return "the plugin is offered an update", nil
	}
	return "the plugin gets nothing", nil
}

// deviceID returns an ID for plugins, which always send one.
func (d *doctor) deviceID() string {
	if d.device.ID != "" {
		return d.device.ID
	}
	return "00000000-0000-4000-8000-000000000000"
}
