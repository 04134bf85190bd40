package node

import (
	"context"
	"errors"
	"fmt"

	"brink/channel"
	"brink/digest"
	"brink/gossip"
	"brink/node/internal/bundles"
	"brink/node/internal/check"
	"brink/node/internal/choices"
	"brink/node/internal/deliver"
	"brink/node/internal/fleet"
	"brink/node/internal/force"
	"brink/node/internal/guest"
	"brink/node/internal/guest/appflow"
	"brink/node/internal/guest/capgo"
	"brink/node/internal/mirror"
	"brink/node/internal/represent"
	"brink/node/internal/serve"
	"brink/node/internal/site"
	"brink/node/internal/stats"
	"brink/node/internal/upload"
	"brink/origin"
	"brink/origin/bucket"
	"brink/store"
)

// The parts of a node are created here, in the order of their dependencies. A part that depends on a later one gets it
// through a field or a function. [Node.close] closes them in the reverse order.

// openStore opens the store, and creates the state of what is in force, with only the configured trust documents.
func (n *Node) openStore() (err error) {
	for _, raw := range n.config.Trust {
		if err := n.state.AddTrust(raw); err != nil {
			return err
		}
	}
	n.store, err = store.Open(store.Config{
		Dir:          n.config.Data,
		Quota:        n.config.Quota,
		KeepReleases: n.config.KeepReleases,
		ScrubRate:    n.config.ScrubRate,
		Logger:       n.config.Logger,
		Now:          n.config.Now,
		FreeSpace:    n.config.freeSpace,
	})
	if err != nil {
		return err
	}
	n.accounts = force.NewAccounts(n.state, n.store, n.config.Now)
	n.endings = force.NewEndings(n.state, n.config.Now, n.config.Logger)
	n.door = force.NewDoor(force.Config{
		State: n.state, Store: n.store, Accounts: n.accounts, Logger: n.config.Logger, Now: n.config.Now,
	})
	return nil
}

// openSources creates the sources of bundles: the fleet, the origin, and the mirror that synchronises it.
func (n *Node) openSources() (err error) {
	if n.config.Fleet.Name != "" {
		options := n.config.Fleet
		if options.URL == "" {
			options.URL = options.GuessURL(n.scheme(), n.Addr())
		}
		n.fleet, err = fleet.New(fleet.Config{
			Options: options,
			Context: n.ctx,
			Work:    &n.work,
			Data:    n.config.Data,
			Version: n.config.Version,
			Door:    n.door,
			Status:  n.status,
			Drain:   n.setDraining,
			Journal: func(ctx context.Context, from gossip.Member, p gossip.Pointer) error {
				return n.journal.Pull(ctx, from, p)
			},
			Logger: n.config.Logger,
			Now:    n.config.Now,
		})
		if err != nil {
			return err
		}
	}
	if n.config.Origin != "" {
		n.bucket, err = bucket.Open(n.ctx, n.config.Origin, bucket.Config{Logger: n.config.Logger, Now: n.config.Now})
		if err != nil {
			return fmt.Errorf("origin: %w", err)
		}
	}
	n.filler, err = origin.New(origin.Config{
		Store:   origin.Into(n.store),
		Sources: n.sources,
		Signed:  n.state.Indexes,
		Rate:    n.config.FillRate,
		Logger:  n.config.Logger,
	})
	if err != nil {
		return err
	}
	n.bundles = bundles.New(bundles.Config{
		Context: n.ctx,
		Store:   n.store,
		Filler:  n.filler,
		IsNamed: n.state.IsNamed,
		Alone:   n.fleet == nil && n.bucket == nil,
		Logger:  n.config.Logger,
	})
	if n.bucket != nil {
		n.mirror = mirror.New(mirror.Config{
			Context: n.ctx,
			Work:    &n.work,
			Bucket:  n.bucket,
			Store:   n.store,
			Bundles: n.bundles,
			Door:    n.door,
			Ack:     n.config.OriginAck,
			Poll:    n.config.OriginPoll,
			Logger:  n.config.Logger,
		})
	}
	return nil
}

// sources returns the sources of a bundle, nearest first: the other nodes, and then the origin.
func (n *Node) sources(id digest.Digest) (list []origin.Source) {
	if n.fleet != nil {
		list = n.fleet.Sources(id)
	}
	if n.bucket != nil {
		list = append(list, n.bucket)
	}
	return list
}

// openServers creates the parts that answer devices: representations, web sites, and the guests.
func (n *Node) openServers() (err error) {
	built := n.config.built
	if built == nil {
		built = n.metrics.built
	}
	config := represent.Config{
		Context:       n.ctx,
		Work:          &n.work,
		Store:         n.store,
		State:         n.state,
		Bundles:       n.bundles,
		Hot:           n.hot,
		Built:         built,
		Popular:       func(m *channel.Manifest) (int, bool) { return n.stats.Popular(m) },
		Sites:         func(m *channel.Manifest) []represent.Derivation { return n.site.Patches(m) },
		Guests:        n.wants,
		Builders:      n.config.Builders,
		PatchReleases: n.config.PatchReleases,
		PrepareTime:   n.config.Prepare,
		AskWait:       n.config.askWait,
		Encoders:      n.config.encoders,
		Logger:        n.config.Logger,
		Now:           n.config.Now,
	}
	if n.fleet != nil {
		config.Fleet = n.fleet
	}
	n.builder = represent.NewBuilder(config)
	n.sender = &serve.Sender{Answers: n.answers, Streams: n.streams, Largest: n.hot.Largest(), Guard: n.work.Guard}
	n.server = &represent.Server{Builder: n.builder, Sender: n.sender, Metrics: n.metrics}
	n.site = site.New(site.Config{
		State: n.state, Bundles: n.bundles, Server: n.server, Fallback: n.config.Fallback, Now: n.config.Now,
	})
	n.deliver = deliver.New(deliver.Config{
		Context: n.ctx,
		Work:    &n.work,
		Store:   n.store,
		Bundles: n.bundles,
		Server:  n.server,
		InFleet: func(r *serve.Request) bool { return n.fleet.Verify(r, nil) == nil },
	})
	if err := n.openStats(); err != nil {
		return err
	}
	n.check = check.New(check.Config{
		State: n.state, Bundles: n.bundles, Server: n.server, Count: n.stats.Check, Logger: n.config.Logger,
		Now: n.config.Now,
	})
	n.uploads, err = upload.New(upload.Config{
		Context:    n.ctx,
		Store:      n.store,
		State:      n.state,
		Accounts:   n.accounts,
		Most:       n.config.Uploads,
		Quota:      n.config.Quota,
		IntentWait: n.config.intentWait,
		Logger:     n.config.Logger,
		Now:        n.config.Now,
	})
	if err != nil {
		return err
	}
	n.statements = &force.Handlers{Context: n.ctx, Door: n.door, Sender: n.sender}
	return n.openGuests()
}

// openStats creates the statistics, and the store of choices.
func (n *Node) openStats() (err error) {
	config := stats.Config{
		Node:   n.config.Fleet.Node,
		Store:  n.store,
		Apps:   n.state,
		Extra:  n.isVersion,
		Logger: n.config.Logger,
		Now:    n.config.Now,
	}
	if n.fleet != nil {
		config.Fleet = n.fleet
	}
	if n.stats, err = stats.New(config); err != nil {
		return err
	}
	n.choices = choices.New(n.store, n.config.Now)
	if n.fleet != nil {
		n.journal = &choices.Journal{
			Choices: n.choices,
			Fleet:   n.fleet,
			Store:   n.store,
			Claimed: func(app string) bool { return n.state.Claiming(app) != nil },
			Logger:  n.config.Logger,
		}
	}
	return nil
}

// openGuests creates the guests.
func (n *Node) openGuests() error {
	edge := guest.Edge{
		Context:   n.ctx,
		State:     n.state,
		Bundles:   n.bundles,
		Server:    n.server,
		Files:     n.deliver.GetFile,
		Choices:   n.choices,
		Check:     n.stats.Tally().Check,
		Event:     n.stats.Tally().Event,
		PublicURL: n.config.PublicURL,
		OwnURL:    n.URL(),
		Secure:    n.tls != nil,
		Builders:  n.config.Builders,
		Logger:    n.config.Logger,
		Now:       n.config.Now,
	}
	plugin, err := capgo.New(edge, n.config.Capgo)
	ionic, err2 := appflow.New(edge, n.config.Appflow)
	n.guests = []guest.Guest{plugin, ionic}
	return errors.Join(err, err2)
}

// wants returns the representations that the devices of all guests will ask for when m is in force.
func (n *Node) wants(m *channel.Manifest) (list []represent.Derivation) {
	for _, g := range n.guests {
		list = append(list, g.Wants(m)...)
	}
	return list
}

// isVersion reports whether devices of a guest may report the version although no channel has served it.
func (n *Node) isVersion(version string) bool {
	for _, g := range n.guests {
		if g.IsVersion(version) {
			return true
		}
	}
	return false
}

// connect sets the parts that the door depends on and that were created after it, and restores what was in force.
func (n *Node) connect() error {
	n.door.Preparer, n.door.Fetcher = n.builder, fetcher{n.filler, n.fleet, n.config.FillRate}
	if n.mirror != nil {
		n.door.Origin = n.mirror
	}
	if n.fleet != nil {
		n.door.Announcer = n.fleet
	}
	if err := n.door.RestoreTrust(n.ctx); err != nil {
		return err
	}
	if err := n.door.RestoreManifests(n.ctx); err != nil {
		return err
	}
	if n.fleet != nil {
		for _, trust := range n.state.Trusts() {
			n.fleet.AnnounceTrust(trust)
		}
		n.journal.Start()
	}
	return nil
}

// fetcher fetches bundles into the store for manifests that are about to come into force.
type fetcher struct {
	filler *origin.Filler
	fleet  *fleet.Fleet // nil: alone
	rate   int64        // bytes per second for updates; 0: no bound
}

// Fetch implements [force.Fetcher]. The bundle comes from the node that is known to have it, unless the bundle's owner
// in this region has it.
func (f fetcher) Fetch(ctx context.Context, id digest.Digest, node string, update bool) error {
	if f.fleet != nil && node != "" {
		defer f.fleet.Hint(id, node)()
		f.filler.Forget(id)
	}
	if update && f.rate > 0 {
		return f.filler.FillAhead(ctx, id)
	}
	return f.filler.Fill(ctx, id)
}
