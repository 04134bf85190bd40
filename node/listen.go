package node

import (
	"errors"
	"net"

	"github.com/valyala/fasthttp"

	"brink/node/internal/admin"
	"brink/node/internal/wire"
)

// valueLogFile is the size in bytes of one file of the store's value log, each of which the store keeps open.
const valueLogFile = 64 << 20

// listen opens the sockets. There is one for all processors, without SO_REUSEPORT. Several would accept a third more
// connections a second, but persistent connections gain nothing, and a second node could open the same port without an
// error and get half of the devices (docs/performance.md).
func (n *Node) listen() error {
	socket, err := net.Listen("tcp", n.config.Listen)
	if err != nil {
		return err
	}
	limits := n.config.Wire
	limits.Reserved += int(n.config.Quota / valueLogFile)
	limits.OnFull = func() {
		n.config.Logger.Warn("connection limit reached, closing idle connections for new ones",
			"connections", n.listener.Limit(), "descriptors", wire.Descriptors(), "displaced", n.listener.Stats().Displaced)
	}
	if n.listener, err = wire.New(socket, limits); err != nil {
		return errors.Join(err, socket.Close())
	}
	if n.config.CertFile != "" {
		certificates, err := wire.OpenCertificates(wire.CertificatesConfig{
			CertFile: n.config.CertFile,
			KeyFile:  n.config.KeyFile,
			Key:      n.config.Key,
			OnError: func(err error) {
				n.config.Logger.Error("cannot load new certificate, the last good one stays in use", "error", err)
			},
		})
		if err != nil {
			return err
		}
		n.tls = certificates.TLS()
	}
	if n.config.Admin != "" {
		if n.admin, err = net.Listen("tcp", n.config.Admin); err != nil {
			return err
		}
		admin.Warn(n.config.Logger, n.admin.Addr())
	}
	n.http = &fasthttp.Server{
		Handler:                      n.handle,
		Name:                         "brink",
		NoDefaultContentType:         true,
		CloseOnShutdown:              true,
		StreamRequestBody:            true,
		MaxRequestBodySize:           64 << 10, // longer bodies are streamed to the handler, which bounds them
		ReadBufferSize:               16 << 10, // bounds a request's head
		Concurrency:                  fasthttp.DefaultConcurrency,
		DisablePreParseMultipartForm: true,
		Logger:                       serverLog{n.config.Logger},
		ErrorHandler:                 n.handleMalformed,
		// No timeouts here: they would be absolute, and cut slow devices that make progress. Package wire has them.
	}
	return nil
}
