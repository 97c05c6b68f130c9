package fetch

import (
	"perto/internal/fields"
	"perto/internal/urlmap"
)

// mapURLs changes URLs of the origin itself in the fields of its reply, so that they
// lead clients back to the edge. An origin writes such URLs with the Host that it
// receives, or with its configured name and port.
//
// The changed fields are stored. They have the scheme and the host of the request that
// began the fetch, so the key of the cache must separate both.
func (o *member) mapURLs(x *Exchange, h fields.Header) {
	if o.keepURLs || x.Scheme == "" {
		return
	}
	var m *urlmap.Map
	for i := range h {
		for _, name := range urlmap.Fields {
			if !fields.Equal(h[i].Name, name) {
				continue
			}
			if m == nil {
				m = o.urlMap(x)
			}
			value := string(h[i].Value)
			if mapped := m.Field(name, value); mapped != value {
				h[i].Value = []byte(mapped)
			}
		}
	}
}

func (o *member) urlMap(x *Exchange) *urlmap.Map {
	scheme := "http"
	if o.server.tls != nil {
		scheme = "https"
	}
	asked := x.Host
	if o.host != "" {
		asked = o.host
	}
	return &urlmap.Map{Own: []urlmap.Server{{Scheme: scheme, Authority: asked}, {Scheme: scheme, Authority: o.server.address}},
		Client: urlmap.Server{Scheme: x.Scheme, Authority: x.Host}, Target: x.Target}
}
