package node

import (
	"brink/node/serve"
)

// routes returns all that the public listener answers. Beside these, each host of Config.Sites is a web site.
func (n *Node) routes() []serve.Route {
	list := []serve.Route{
		serve.Get("/livez", "livez", n.live),
		serve.Get("/readyz", "readyz", n.ready),

		serve.Get("/v1/apps/{app}", "app", n.app),
		serve.Post("/v1/apps/{app}/check", "check", n.check),
		serve.Post("/v1/apps/{app}/bundles", "offer", n.offer),
		serve.Get("/v1/apps/{app}/channels/{channel}", "manifest", n.manifest),
		serve.Put("/v1/apps/{app}/channels/{channel}", "move", n.move),
		serve.Get("/v1/orgs/{org}/trust", "trust", n.trust),
		serve.Put("/v1/orgs/{org}/trust", "trust", n.putTrust),
		serve.Get("/v1/orgs/{org}/trust/{version}", "trust", n.trustVersion),
		serve.Post("/v1/orgs/{org}/channels", "listing", n.listing),
		serve.Put("/v1/uploads/{upload}", "upload", n.upload),

		serve.Get("/v1/bundles/{bundle}/archive", "archive", n.archive),
		serve.Get("/v1/bundles/{bundle}/index", "index", n.index),
		serve.Get("/v1/bundles/{bundle}/intent", "intent", n.intent),
		serve.Get("/v1/bundles/{bundle}/files/{path...}", "file", n.file),
		serve.Get("/v1/chunks/{chunk}", "chunk", n.chunk),
		serve.Post("/v1/chunks", "batch", n.batch),

		serve.Get("/web/{app}/{channel}", "web", n.toFolder),
		serve.Get("/web/{app}/{channel}/{path...}", "web", n.page),
	}
	list = append(list, n.fleetRoutes()...)
	list = append(list, n.capgoRoutes()...)
	return append(list, n.appflowRoutes()...)
}

// siteRoutes returns the hosts that are web sites.
func (n *Node) siteRoutes() (list []serve.HostRoute) {
	for host, site := range n.config.Sites {
		list = append(list, serve.HostRoute{
			Host: host, Names: [2]string{site.App, site.Channel}, Name: "web", Handler: n.page,
		})
	}
	return list
}
