package topic

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
)

// Listener has l take both http and, with the topic's certificate, https: SNS's certificate and links have https URLs, and clients refuse others.
func (t *Topic) Listener(l net.Listener) net.Listener {
	return listener{l, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{t.signer.certificate}, PrivateKey: t.signer.key}}}}
}

type listener struct {
	net.Listener
	config *tls.Config
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, config: l.config}, nil
}

// conn finds out with the first Read, which a server does before any Write, whether the client begins with a TLS handshake.
type conn struct {
	net.Conn
	config *tls.Config
	once   sync.Once
	talk   io.ReadWriter
}

func (c *conn) Read(b []byte) (int, error) {
	c.once.Do(func() {
		first := make([]byte, 1)
		n, _ := c.Conn.Read(first) // an error comes again with the next Read
		c.talk = &unread{c.Conn, first[:n]}
		const handshake = 22 // the first byte of every TLS connection (RFC 8446, section 5.1), and of no HTTP request
		if n == 1 && first[0] == handshake {
			c.talk = tls.Server(c.talk.(net.Conn), c.config)
		}
	})
	return c.talk.Read(b)
}

func (c *conn) Write(b []byte) (int, error) { return c.talk.Write(b) }

// unread is a connection from which a part was read that is to be read again.
type unread struct {
	net.Conn
	part []byte
}

func (u *unread) Read(b []byte) (int, error) {
	if len(u.part) == 0 {
		return u.Conn.Read(b)
	}
	n := copy(b, u.part)
	u.part = u.part[n:]
	return n, nil
}
