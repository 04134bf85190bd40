package node

import (
	"brink/node/internal/serve"
	"brink/protocol"
)

// routes returns the routes of the public listener.
func (n *Node) routes() []serve.Route {
	f := n.fleet // nil refuses all
	routes := []serve.Route{
		serve.Get("/livez", "livez", n.getLive),
		serve.Get("/readyz", "readyz", n.getReady),

		serve.Get("/v1/apps/{app}", "app", n.statements.GetApp),
		serve.Post("/v1/apps/{app}/check", "check", n.check.PostCheck),
		serve.Post("/v1/apps/{app}/bundles", "offer", n.uploads.PostOffer),
		serve.Put("/v1/uploads/{upload}", "upload", n.uploads.PutUpload),
		serve.Get("/v1/apps/{app}/channels/{channel}", "manifest", n.statements.GetManifest),
		serve.Put("/v1/apps/{app}/channels/{channel}", "move", n.putManifest),
		serve.Get("/v1/orgs/{org}/trust", "trust", n.statements.GetTrust),
		serve.Put("/v1/orgs/{org}/trust", "trust", n.statements.PutTrust),
		serve.Get("/v1/orgs/{org}/trust/{version}", "trust", n.statements.GetTrustVersion),
		serve.Post("/v1/orgs/{org}/channels", "listing", n.statements.PostListing),

		serve.Get("/v1/bundles/{bundle}/archive", "archive", n.deliver.GetArchive),
		serve.Get("/v1/bundles/{bundle}/index", "index", n.deliver.GetIndex),
		serve.Get("/v1/bundles/{bundle}/intent", "intent", n.getIntent),
		serve.Get("/v1/bundles/{bundle}/files/{path...}", "file", n.deliver.GetFile),
		serve.Get("/v1/chunks/{chunk}", "chunk", n.deliver.GetChunk),
		serve.Post("/v1/chunks", "batch", n.deliver.PostChunks),

		serve.Get("/web/{app}/{channel}", "web", n.site.ToFolder),
		serve.Get("/web/{app}/{channel}/{path...}", "web", n.site.GetPage),

		serve.Get(protocol.FleetStatusPath, "fleet", f.Signed(f.GetStatus)),
		serve.Post(protocol.FleetHoldPath, "fleet", f.Signed(f.PostHold)),
		serve.Post(protocol.FleetDrainPath, "fleet", f.Signed(f.PostDrain)),
		serve.Post(protocol.FleetKeysPath, "fleet", f.Signed(f.PostKeys)),
		serve.Get(protocol.FleetStatsPath, "fleet", f.Signed(f.Verified(n.stats.GetStats))),
		serve.Get(protocol.FleetChoicesPath, "fleet", f.Signed(f.Verified(n.journal.GetChoices))),
		serve.Get(protocol.FleetDerivedPath, "fleet", f.Verified(n.server.GetDerived)),
	}
	for _, g := range n.guests {
		routes = append(routes, g.Routes()...)
	}
	return routes
}

// route creates the table of the routes, and of the hosts that are web sites.
func (n *Node) route() (err error) {
	var hosts []serve.HostRoute
	for host, site := range n.config.Sites {
		hosts = append(hosts, serve.HostRoute{
			Host: host, Names: [2]string{site.App, site.Channel}, Name: "web", Handler: n.site.GetPage,
		})
	}
	if n.table, err = serve.NewTable(n.routes(), hosts); err != nil {
		return err
	}
	n.metrics.label(n.table.Names())
	n.metrics.registry.MustRegister(n.stats)
	return nil
}
