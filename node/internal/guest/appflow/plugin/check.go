package plugin

import (
	"encoding/json"
	"net/url"
	"strings"

	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// defaultChannel is what Appflow calls the channel of an app that configures none.
const defaultChannel = "Production"

// request is what a plugin posts to check-device. What is left out, null, or of no use here is not read: the snapshot
// says what the device runs, and the build number nothing beyond it.
type request struct {
	Channel string `json:"channel_name"`
	Device  struct {
		Native   string `json:"binary_version"` // of the native app, as people know it
		ID       string `json:"device_id"`
		Platform string `json:"platform"`
		Snapshot string `json:"snapshot"` // absent while the device runs what its native app came with
	} `json:"device"`
	Manifest json.RawMessage `json:"manifest"`   // true: a list of files is wanted; absent or false: a zip
	Portals  json.RawMessage `json:"is_portals"` // sent by @capacitor/live-updates, and by no other plugin
}

// form is what a device wants a release as.
type form string

// The forms, as they stand in URLs.
const (
	formManifest form = "manifest"    // list of files for cordova-plugin-ionic 4.2 and later
	formSigned   form = "manifest_v2" // the publisher's list for @capacitor/live-updates
	formZip      form = "download"    // cordova-plugin-ionic before 4.2, and whoever is configured for it
)

func (r *request) form() form {
	switch text := string(r.Manifest); {
	case text != "true" && text != `"true"`:
		return formZip
	case len(r.Portals) > 0:
		return formSigned
	default:
		return formManifest
	}
}

// data is the part of an answer that plugins decide by. They want each member to be there.
type data struct {
	Available    bool    `json:"available"`
	Compatible   bool    `json:"compatible"`
	Partial      bool    `json:"partial"` // a zip of a part of the files; none is made
	Snapshot     *string `json:"snapshot"`
	URL          *string `json:"url"`
	Build        *int64  `json:"build"`
	Incompatible bool    `json:"incompatibleUpdateAvailable"` // there is one, for another version of the native app
}

// meta is the part of an answer that only has to be there.
type meta struct {
	Status    int    `json:"status"`
	RequestID string `json:"request_id"`
	Version   string `json:"version"`
}

const metaVersion = "brink-1"

// Answer is what a device is told: the HTTP status and a JSON body.
type Answer struct {
	Status int
	Body   []byte
}

// Query is one request of a device to check-device.
type Query struct {
	ID      string // of the app, from the path
	Base    string // URL of this protocol's root as the device sees it, without a slash at its end
	Request string // identity of the request, for people who look for it in logs
	Body    []byte // at most protocol.MaxCheck bytes
}

// Check answers a device that asks whether there is something new. An error is a [*protocol.Problem] or one of the
// Edge's; [Fail] makes the answer of it.
func (a *Appflow) Check(q Query) (Answer, error) {
	var in request
	if err := json.Unmarshal(q.Body, &in); err != nil {
		return Answer{}, problem(400, protocol.CodeBadRequest, "The body is not JSON of a device: "+err.Error())
	}
	m, err := a.follow(q.ID, &in)
	if err != nil {
		return Answer{}, err
	}
	decision := channel.ResolveLast(m, device(m, &in), a.config.Now())
	d := data{Incompatible: awaitsNative(m, decision.Reason)}
	if release := decision.Release; release != nil {
		where, err := a.offer(release, in.form())
		if err != nil {
			return Answer{}, err
		}
		link := q.Base + "/apps/" + url.PathEscape(q.ID) + "/snapshots/" + where.String() + "/" + string(in.form())
		snapshot, build := Snapshot(release.Bundle), Build(release.Bundle)
		d.Available, d.Compatible = true, true
		d.Snapshot, d.URL, d.Build = &snapshot, &link, &build
	}
	return encode(200, struct {
		Data data `json:"data"`
		Meta meta `json:"meta"`
	}{d, meta{Status: 200, RequestID: q.Request, Version: metaVersion}}), nil
}

// follow returns the manifest of the channel that the device asks for.
func (a *Appflow) follow(id string, in *request) (*channel.Manifest, error) {
	app, name := a.App(id), in.Channel
	if name == "" {
		name = defaultChannel
	}
	m := a.config.Edge.Manifest(app, name)
	_, mapped := a.config.Apps[id]
	switch {
	case m != nil:
		return m, nil
	case mapped || a.config.Edge.HasApp(app):
		return nil, problem(404, protocol.CodeUnknownChannel, "Channel not found")
	default:
		return nil, problem(404, protocol.CodeUnknownApp, "App not found")
	}
}

// device returns what a device says about itself in the words of package channel.
//
// What it runs counts only if the channel serves that or has served it. One that comes from another channel, from
// Appflow, or from a release that nobody remembers is taken to run a version that is below every release: plugins
// expect to get what the channel has whenever it is not what they have.
func device(m *channel.Manifest, in *request) channel.Device {
	d := channel.Device{
		ID:       in.Device.ID,
		Platform: channel.Platform(strings.ToLower(in.Device.Platform)),
		Native:   in.Device.Native,
		BuiltIn:  in.Device.Snapshot == "",
	}
	if snapshot, ok := parseSnapshot(in.Device.Snapshot); ok {
		for release := range m.Releases() {
			if masked(release.Bundle) == snapshot {
				d.Bundle, d.Version = release.Bundle, release.Version
				break
			}
		}
	}
	return d
}

// awaitsNative reports whether a device gets nothing because of the version of its native app alone.
func awaitsNative(m *channel.Manifest, reason channel.Reason) bool {
	switch reason {
	case channel.ReasonNativeTooOld, channel.ReasonNativeTooNew, channel.ReasonNativeUnknown:
		return true
	case channel.ReasonStep: // such a channel bounds no step, but the native version
		return m.Rules.MaxStep == channel.StepNumber
	default:
		return false
	}
}

// offer returns the bundle that a release is in the form that a device wants, or says why it cannot have it.
func (a *Appflow) offer(release *channel.Release, want form) (digest.Digest, error) {
	id := release.Bundle
	if want == formZip {
		zip := release.Attachment(protocol.AttachmentZip)
		if zip == nil {
			return id, problem(400, protocol.CodeNotAcceptable,
				"Version "+release.Version+" has no zip, and this device takes nothing else: publish it with --zip")
		}
		id = zip.Bundle
	}
	v, err := a.judge(id)
	if protocol.CodeOf(err) == protocol.CodeUnknownBundle {
		// The channel names it, so this node has lost it: the device asks again later, and stays on what it runs.
		return id, problem(503, protocol.CodeDamaged, "Version "+release.Version+" is not on this node")
	}
	if err != nil {
		return id, err
	}
	return id, v.refuse(want, release.Version)
}

func problem(status int, code, message string) *protocol.Problem {
	return &protocol.Problem{Status: status, Code: code, Message: message}
}

// Fail returns the answer that says no, in the shape that plugins read: they show the message, and some of them cannot
// read an answer without type and event_id.
func Fail(p *protocol.Problem, request string) Answer {
	type problemBody struct {
		Message string `json:"message"`
		Type    string `json:"type"`
		EventID string `json:"event_id"`
	}
	message := p.Message
	if p.Hint != "" {
		message += " (" + p.Hint + ")"
	}
	return encode(p.Status, struct {
		Error problemBody `json:"error"`
		Meta  meta        `json:"meta"`
	}{problemBody{message, p.Code, request}, meta{Status: p.Status, RequestID: request, Version: metaVersion}})
}

func encode(status int, what any) Answer {
	body, err := json.Marshal(what)
	if err != nil {
		panic("appflow: encode an answer: " + err.Error()) // texts, numbers and booleans always encode
	}
	return Answer{Status: status, Body: append(body, '\n')}
}
