package node

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"brink/channel"
	"brink/digest"
	"brink/node/serve"
	"brink/origin"
	"brink/protocol"
)

// channels holds the channel manifests that are in force, for all apps.
type channels struct {
	changes atomic.Uint64 // of what is in force, trust documents included

	mu sync.RWMutex // guards the maps
	// byApp has the manifests of each app, sorted by channel. A list is never changed: another one takes its place, so
	// that readers need no copy.
	byApp map[string][]*channel.Manifest
	// lapsed holds manifests, by app and channel, that were in force and that the trust documents of today do not allow
	// any more. They are shown to publishers, who have to know the sequence, and served to no device.
	lapsed map[string]*channel.Manifest
	// named are the bundles that manifests in force, or about to come into force, serve or have served.
	named names

	accounts accounts
	trusts   trusts
}

func newChannels() *channels {
	return &channels{
		byApp:  map[string][]*channel.Manifest{},
		lapsed: map[string]*channel.Manifest{},
		named:  newNames(),
	}
}

// get returns the manifest of a channel that is in force, or nil.
func (c *channels) get(app, name string) *channel.Manifest {
	list := c.of(app)
	if i, found := find(list, name); found {
		return list[i]
	}
	return nil
}

// find returns where the channel's manifest is in the sorted list, or would be.
func find(list []*channel.Manifest, name string) (int, bool) {
	return slices.BinarySearchFunc(list, name, func(m *channel.Manifest, name string) int {
		return strings.Compare(m.Channel, name)
	})
}

// held returns the manifest of a channel that the next one has to follow: the one in force, or one that has lapsed.
func (c *channels) held(app, name string) (m *channel.Manifest, lapsed bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if i, found := find(c.byApp[app], name); found {
		return c.byApp[app][i], false
	}
	m = c.lapsed[app+"/"+name]
	return m, m != nil
}

// lapse keeps a manifest that does not count any more.
func (c *channels) lapse(m *channel.Manifest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes.Add(1)
	c.lapsed[m.App+"/"+m.Channel] = m
	if i, found := find(c.byApp[m.App], m.Channel); found {
		c.named.add(c.byApp[m.App][i], -1)
		if list := slices.Delete(slices.Clone(c.byApp[m.App]), i, i+1); len(list) > 0 {
			c.byApp[m.App] = list
		} else {
			delete(c.byApp, m.App)
		}
	}
}

func (c *channels) countLapsed() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.lapsed)
}

// set puts a manifest in force. One that is older than what is there is let go: a later one has overtaken it.
func (c *channels) set(m *channel.Manifest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes.Add(1)
	list := slices.Clone(c.byApp[m.App])
	switch i, found := find(list, m.Channel); {
	case !found:
		list = slices.Insert(list, i, m)
	case list[i].Order() > m.Order():
		return
	default:
		c.named.add(list[i], -1)
		list[i] = m
	}
	c.byApp[m.App] = list
	delete(c.lapsed, m.App+"/"+m.Channel)
	c.named.add(m, +1)
}

// expect has names report the bundles of a manifest that is about to come into force, so that what it needs can be
// brought in and made before. Call the function that it returns when the manifest is in force, or will not be.
func (c *channels) expect(m *channel.Manifest) (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.named.add(m, +1)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.named.add(m, -1)
	}
}

// signed returns what manifests say of a bundle's index.
func (c *channels) signed(id digest.Digest) (list []origin.Signed) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for i := range c.named.byBundle[id] {
		d := &c.named.byBundle[id][i].description
		list = append(list, origin.Signed{Index: d.index, IndexSize: d.indexSize, Size: d.size})
	}
	return list
}

// each calls do with every manifest in force, in no order.
func (c *channels) each(do func(*channel.Manifest)) {
	c.mu.RLock()
	list := make([]*channel.Manifest, 0, len(c.byApp))
	for _, of := range c.byApp {
		list = append(list, of...)
	}
	c.mu.RUnlock()
	for _, m := range list {
		do(m)
	}
}

// of returns what is in force for an app, sorted by channel. The list is to be read only.
func (c *channels) of(app string) []*channel.Manifest {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byApp[app]
}

// count returns how many channels there are.
func (c *channels) count() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	n := 0
	for _, of := range c.byApp {
		n += len(of)
	}
	return n
}

// owner returns the trust document of the org that the app belongs to. When several claim it, the one that has
// published counts, and before that the first by name.
func (c *channels) owner(app string) (*channel.Trust, error) {
	if list := c.of(app); len(list) > 0 {
		if trust := c.trusts.get(list[0].Org); trust != nil {
			return trust, nil
		}
	}
	if trust := c.trusts.claiming(app); trust != nil {
		return trust, nil
	}
	return nil, serve.Problem(protocol.CodeUnknownApp, fmt.Sprintf("no org of this node claims the app %q", app),
		"start the node with a trust document whose app patterns match it")
}

// app answers GET /v1/apps/{app}.
func (n *Node) app(r *serve.Request) error {
	trust, err := n.channels.owner(r.Names[0])
	if err != nil {
		return err
	}
	answer := protocol.App{
		App:      r.Names[0],
		Org:      trust.Org(),
		Trust:    protocol.TrustPath(trust.Org()),
		Channels: []protocol.AppChannel{},
	}
	for _, m := range n.channels.of(r.Names[0]) {
		answer.Channels = append(answer.Channels, protocol.AppChannel{
			Channel:  m.Channel,
			Sequence: m.Sequence,
			Version:  m.Release.Version,
			Manifest: m.Digest(),
			Reverted: m.Reverted(),
		})
	}
	return r.WriteJSON(200, answer)
}

// trust answers GET /v1/orgs/{org}/trust.
func (n *Node) trust(r *serve.Request) error {
	trust := n.channels.trusts.get(r.Names[0])
	if trust == nil {
		return serve.Problem(protocol.CodeUnknownOrg, fmt.Sprintf("there is no org %q here", r.Names[0]),
			"start the node with its trust document")
	}
	return n.sender.SendSigned(r, trust.Raw(), trust.Digest())
}

// manifest answers GET /v1/apps/{app}/channels/{channel}.
func (n *Node) manifest(r *serve.Request) error {
	m, lapsed := n.channels.held(r.Names[0], r.Names[1])
	if !lapsed {
		var err error
		if m, err = n.inForce(r.Names[0], r.Names[1]); err != nil {
			return err
		}
	}
	return n.sender.SendSigned(r, m.Raw(), m.Digest())
}

// inForce returns the manifest of a channel, or says what is missing.
func (n *Node) inForce(app, name string) (*channel.Manifest, error) {
	m := n.channels.get(app, name)
	if m != nil {
		return m, nil
	}
	if _, err := n.channels.owner(app); err != nil {
		return nil, err
	}
	hint := "publish to it first"
	if list := n.channels.of(app); len(list) > 0 {
		names := make([]string, len(list))
		for i, one := range list {
			names[i] = one.Channel
		}
		hint = "its channels are: " + strings.Join(names, ", ")
	}
	return nil, serve.Problem(protocol.CodeUnknownChannel,
		fmt.Sprintf("nothing was published to channel %q of %s", name, app), hint)
}
