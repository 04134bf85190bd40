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

// doctor tries the steps of an update as a device performs them, and reports what is wrong.
type doctor struct {
	node, app, channel string
	ionic              string // the app's ID in Appflow
	capgo              string // path of the API for Capgo's plugin
	device             protocol.Device
	trust              *channel.Trust // nil: signatures are not checked

	http   *http.Client
	now    func() time.Time
	steps  []step
	failed error             // of the first step that failed
	served *channel.Manifest // as fetched from the node; nil until then
}

// step is the result of one step.
type step struct {
	Step   string `json:"step"`
	Result string `json:"result"` // ok, failed or skipped
	Detail string `json:"detail,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

// clockLeeway is the accepted difference between the clocks of a node and a device. Devices accept manifests that are
// issued up to ten minutes in the future.
const clockLeeway = 5 * time.Minute

func doctorCommand(sh *shell) *cobra.Command {
	d := &doctor{now: time.Now}
	var trust, platform string
	var timeout time.Duration
	cmd := verb("doctor", "Diagnose why a device does not get an update",
		`It tries the steps of an update as a device performs them: reach the node, verify its certificate, compare clocks,
check for an update, verify the signature of the manifest, request the archive and a patch, and check for an update as
the plugins of Capgo and Appflow do. Nothing is changed or installed. The exit code is that of the first failed step.`,
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
			d.run(cmd.Context())
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
	trustFlag(cmd, &trust, "the org's trust document, a `FILE` or its content; without it signatures are not verified")
	flags.StringVar(&d.device.ID, "device-id", "", "`ID` of the device")
	flags.StringVar(&platform, "platform", string(channel.Android), "`NAME` of the platform of the device")
	flags.StringVar(&d.device.Native, "native-version", "1.0.0", "`VERSION` of the native app around the bundle")
	flags.StringVar(&d.ionic, "appflow-id", "", "`ID` of the app in Ionic Appflow (default: its name)")
	flags.StringVar(&d.capgo, "capgo", node.DefaultCapgo, "`PATH` for Capgo's plugin on the node (serve --capgo-path)")
	flags.DurationVar(&timeout, "timeout", 10*time.Second, "how long to wait for each answer")
	required(cmd, "node", "app", "channel")
	sh.printsJSON(cmd)
	return cmd
}

// run performs the steps. It stops after the first if the node cannot be reached, and after no other.
func (d *doctor) run(ctx context.Context) {
	var date string
	d.perform("reach", func() (string, error) {
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
			return "the node is ready, with warnings: " + strings.Join(ready.Reasons, ", "), nil
		}
		return "the node is ready", nil
	})
	if d.failed != nil {
		return
	}
	d.perform("tls", func() (string, error) {
		if !strings.HasPrefix(d.node, "https://") {
			return "", skip{"the URL is http: phones refuse it unless the app allows cleartext traffic"}
		}
		return "the certificate is valid for this name", nil
	})
	d.perform("clock", func() (string, error) { return d.clock(date) })
	d.perform("check", func() (string, error) { return d.check(ctx) })
	d.perform("signature", d.signature)
	d.perform("archive", func() (string, error) { return d.archive(ctx) })
	d.perform("patch", func() (string, error) { return d.patch(ctx) })
	d.perform("capgo", func() (string, error) { return d.checkCapgo(ctx) })
	d.perform("appflow", func() (string, error) { return d.checkAppflow(ctx) })
}

// skip is the error of a step that is skipped.
type skip struct{ why string }

func (s skip) Error() string { return s.why }

// perform runs a step and records its result.
func (d *doctor) perform(name string, do func() (string, error)) {
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

// response is a response with its whole body, up to a limit.
type response struct {
	status int
	head   http.Header
	body   []byte
}

func (d *doctor) ask(ctx context.Context, method, path string, body any, fields ...string) (response, error) {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return response{}, err
		}
		fields = append(fields, "Content-Type", "application/json")
	}
	resp, err := call(ctx, d.http, method, d.node+path, raw, fields...)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, protocol.MaxCheckAnswer))
	return response{status: resp.StatusCode, head: resp.Header, body: got}, err
}

// reachHint returns a hint on what to do about a node that cannot be reached.
func reachHint(err error) string {
	if _, unknown := errors.AsType[*net.DNSError](err); unknown {
		return "the host name of the node cannot be resolved: check its DNS record"
	}
	if wrong, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		if late, ok := errors.AsType[x509.CertificateInvalidError](wrong.Err); ok && late.Reason == x509.Expired {
			return "the certificate has expired, or this machine's clock is wrong"
		}
		if _, ok := errors.AsType[x509.HostnameError](wrong.Err); ok {
			return "the certificate is for another name: use that name, or get a certificate for this one"
		}
		return "devices accept only certificates of public authorities: is the chain in serve --tls-cert complete?"
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return "the node does not use TLS at this address: use http, or start it with --tls-cert and --tls-key"
	}
	return "is the node running, is the address correct, and does the firewall let devices through?"
}

func (d *doctor) clock(date string) (string, error) {
	there, err := http.ParseTime(date)
	if err != nil {
		return "", skip{"the response of the node has no Date"}
	}
	if apart := d.now().Sub(there); apart.Abs() > clockLeeway {
		by := apart.Abs().Round(time.Second)
		return "", withHint(fmt.Errorf("the clocks of the node and of this machine are %s apart", by),
			"manifests that are new or about to expire may be refused: synchronize both clocks by NTP")
	}
	return "the clocks of the node and of this machine agree", nil
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
		return "", fmt.Errorf("the manifest in the node's answer: %w", err)
	}
	switch {
	case answer.Release != nil:
		return fmt.Sprintf("the device gets %s: %s", answer.Release.Version, answer.Decision), nil
	case answer.Reason != "":
		return fmt.Sprintf("the device gets nothing: %s (see brink channel explain)", answer.Reason), nil
	}
	return fmt.Sprintf("the device gets nothing: %s", answer.Decision), nil
}

// noManifest is why steps are skipped that need the manifest of an earlier one.
const noManifest = "the check returned no manifest"

func (d *doctor) signature() (string, error) {
	switch {
	case d.served == nil:
		return "", skip{noManifest}
	case d.trust == nil:
		return "", skip{"pass the org's trust document with --trust"}
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
			"renew it with brink channel renew, or publish to the channel")
	}
	detail := fmt.Sprintf("the signatures of sequence %d are valid", m.Sequence)
	if channel.EndsSoon(m.Issued, m.Expires, d.now()) {
		detail += "; the manifest expires on " + moment(m.Expires) + ": renew it with brink channel renew"
	}
	if at := d.trust.Expires(); channel.EndsSoon(d.trust.Issued(), at, d.now()) {
		detail += "; the trust document expires on " + moment(at)
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
		return fmt.Sprintf("received the first of %d bytes of version %s",
			d.served.Release.Size, d.served.Release.Version), nil
	case got.status == http.StatusOK:
		return "", withHint(errors.New("the response to a range request is the whole archive"),
			"a proxy in front of the node removes Range: interrupted downloads cannot resume")
	}
	return "", protocol.ReadProblem(got.status, got.body)
}

func (d *doctor) patch(ctx context.Context) (string, error) {
	if d.served == nil {
		return "", skip{noManifest}
	}
	if len(d.served.History) == 0 {
		return "", skip{"the channel has only served one release"}
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
		return "no patch from " + old.Version + ": it is not smaller, or not built yet; devices get the full archive", nil
	}
	return fmt.Sprintf("%s bytes from %s", got.head.Get("Content-Length"), old.Version), nil
}

// checkCapgo checks for an update as Capgo's plugin does. It is no error if there is none.
func (d *doctor) checkCapgo(ctx context.Context) (string, error) {
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

// checkAppflow checks for an update as Ionic's plugins do, from a page of another web origin.
func (d *doctor) checkAppflow(ctx context.Context) (string, error) {
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
		return "", withHint(fmt.Errorf("the node's answer has Access-Control-Allow-Origin %q, want \"*\"", origin),
			"a proxy in front of the node changes Access-Control-Allow-Origin: WebViews need *")
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
