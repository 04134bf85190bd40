package plugin

import (
	"encoding/json"
	"net/url"
	"strings"

	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// defaultChannel is the default channel of Appflow, for apps that configure none.
const defaultChannel = "Production"

// request is the body that a plugin posts to check-device, without members that are not needed: the snapshot identifies
// what the device runs, so the build number is redundant.
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

// form is the form in which a device wants a release.
type form string

// The forms, as they stand in URLs.
const (
	formManifest form = "manifest"    // list of files for cordova-plugin-ionic 4.2 and later
	formSigned   form = "manifest_v2" // the publisher's list for @capacitor/live-updates
	formZip      form = "download"    // cordova-plugin-ionic before 4.2, and devices that are configured for it
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

// data is the part of an answer that plugins evaluate. All members are required.
type data struct {
	Available    bool    `json:"available"`
	Compatible   bool    `json:"compatible"`
	Partial      bool    `json:"partial"` // a zip of a part of the files; none is made
	Snapshot     *string `json:"snapshot"`
	URL          *string `json:"url"`
	Build        *int64  `json:"build"`
	Incompatible bool    `json:"incompatibleUpdateAvailable"` // there is one, for another version of the native app
}

// meta is the part of an answer that is required, and that plugins ignore.
type meta struct {
	Status    int    `json:"status"`
	RequestID string `json:"request_id"`
	Version   string `json:"version"`
}

const metaVersion = "brink-1"

// Answer is an answer to a device: the HTTP status and a JSON body.
type Answer struct {
	Status int
	Body   []byte
}

// Query is one request of a device to check-device.
type Query struct {
	ID      string // of the app, from the path
	Base    string // URL of this protocol's root as the device sees it, without a slash at its end
	Request string // ID of the request, to find it in logs
	Body    []byte // at most protocol.MaxCheck bytes
}

// Check answers a check for updates. An error is a [*protocol.Problem] or one of the Edge's; [Fail] returns the answer
// for it.
func (a *Appflow) Check(q Query) (Answer, error) {
	var in request
	if err := json.Unmarshal(q.Body, &in); err != nil {
		return Answer{}, problem(400, protocol.CodeBadRequest, "The body is not JSON of a device: "+err.Error())
	}
	m, err := a.follow(q.ID, &in)
	if err != nil {
		return Answer{}, err
	}
	decision := channel.ResolveIgnoringExpiry(m, device(m, &in), a.config.Now())
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

// device translates a request to a device of package channel.
//
// The release that it runs counts only if the channel serves or has served it. A device that comes from another
// channel, from Appflow, or from a forgotten release counts as running a version below all releases: plugins expect to
// get the release of the channel whenever it differs from theirs.
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

// awaitsNative reports whether a device gets no update only because of the version of its native app.
func awaitsNative(m *channel.Manifest, reason channel.Reason) bool {
	switch reason {
	case channel.ReasonNativeTooOld, channel.ReasonNativeTooNew, channel.ReasonNativeUnknown:
		return true
	case channel.ReasonStep: // StepNumber restricts the native version
		return m.Rules.MaxStep == channel.StepNumber
	default:
		return false
	}
}

// offer returns the bundle with a release in the form that a device wants, or the problem why the device cannot have
// it.
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
		// The channel names it, so this node has lost it: the device tries again later, and stays on its release.
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

// Fail returns the answer for a problem in the form that plugins read: they show the message, and some of them fail to
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
