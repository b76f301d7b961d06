package console

import (
	"net"
	"net/http"
)

// Guard is what every request passes but those to /webhook, which is public and has its signature. The page shows personal data and can act, so it answers only
// who reached it under a name of this machine (a site whose name was pointed here, "DNS rebinding", did not), and no request that another site made a browser send. What it answers may
// load nothing from elsewhere, run no script but the page's own, and be shown inside of no other page.
func Guard(next http.Handler) http.Handler {
	protected := http.NewCrossOriginProtection().Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/webhook" {
			next.ServeHTTP(w, r)
			return
		}
		for name, value := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
				"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
			"Cross-Origin-Resource-Policy": "same-origin",
			"Cross-Origin-Opener-Policy":   "same-origin",
			"X-Content-Type-Options":       "nosniff",
			"Referrer-Policy":              "no-referrer",
			"Cache-Control":                "no-store",
		} {
			w.Header().Set(name, value)
		}
		if !ours(r.Host) {
			http.Error(w, "This program answers under a name of this machine only, such as 127.0.0.1 or localhost.", http.StatusMisdirectedRequest)
			return
		}
		protected.ServeHTTP(w, r)
	})
}

// ours reports whether a Host header names this machine: an address of its loopback, or localhost, with any port.
func ours(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return IsLoopback(host)
}

// IsLoopback reports whether a host's name or address is reached from this machine only.
func IsLoopback(host string) bool {
	if n := len(host); n > 1 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
