package semantics

import "bytes"

// Coding is a content coding that a node can send.
type Coding uint8

// The codings. The zero value is Identity: plain bytes.
const (
	Identity Coding = iota
	Gzip
	Brotli
	Zstd
	DCZ     // a patch: zstd with a dictionary (RFC 9842, section 5)
	codings // how many there are
)

// String returns the registered name, as Content-Encoding has it. Identity is never sent as a field.
func (c Coding) String() string {
	switch c {
	case Identity:
		return "identity"
	case Gzip:
		return "gzip"
	case Brotli:
		return "br"
	case Zstd:
		return "zstd"
	case DCZ:
		return "dcz"
	}
	return "unknown"
}

// MaxCodings is how many members of an Accept-Encoding field are read; the rest counts as not sent. Browsers send five.
const MaxCodings = 32

// Accept is what a client accepts, read from Accept-Encoding. The zero value accepts nothing; use [ParseAccept].
type Accept struct {
	// weights are twice the q-value in thousandths, 0 to 2000. The doubling leaves room for one weight below the
	// smallest that can be written: that of a coding nobody asked for and nobody refused.
	weights [codings]uint16
}

const unasked = 1

// ParseAccept reads an Accept-Encoding field (RFC 9110, section 12.5.3). It never fails: a member that is malformed or
// has an unknown name is passed over, and when a coding is named twice the lower weight counts.
//
// Without the field every coding is acceptable, but identity is liked best, because clients that send no field are in
// practice those that decode nothing. An empty field accepts identity only.
//
// DCZ must be named: neither the absence of the field nor an asterisk stands for it, because a patch is of use only to
// a client that knows the scheme and has the dictionary (RFC 9842, section 6).
func ParseAccept(field []byte) Accept {
	var a Accept
	if field == nil {
		a.weights = [codings]uint16{Identity: 2000, Gzip: unasked, Brotli: unasked, Zstd: unasked}
		return a
	}
	var named [codings]bool
	star, starred := uint16(0), false
	for more, n, list := true, 0, field; more && n < MaxCodings; n++ {
		var m []byte
		m, list, more = member(list)
		name, q, ok := weighted(m)
		if !ok {
			continue
		}
		if len(name) == 1 && name[0] == '*' {
			if !starred || q < star {
				star, starred = q, true
			}
			continue
		}
		if c, known := codingNamed(name); known {
			if !named[c] || q < a.weights[c] {
				a.weights[c], named[c] = q, true
			}
		}
	}
	for c := Identity; c < DCZ; c++ {
		switch {
		case named[c]:
		case starred:
			a.weights[c] = star
		case c == Identity:
			a.weights[c] = unasked // acceptable as long as it is not refused
		}
	}
	return a
}

// Accepts reports whether c may be sent.
func (a Accept) Accepts(c Coding) bool { return c < codings && a.weights[c] > 0 }

// Prefers reports whether c may be sent and is liked no less than other, so that it is worth looking whether c is there
// when other is.
func (a Accept) Prefers(c, other Coding) bool {
	return a.Accepts(c) && (other >= codings || a.weights[c] >= a.weights[other])
}

// Choose returns the coding among offers that the client likes best, and of those it likes equally the one that is
// offered first. It returns false if none is acceptable; the answer is then 406 (RFC 9110, section 15.5.7), or the
// plain bytes all the same, which the RFC allows too.
func (a Accept) Choose(offers ...Coding) (Coding, bool) {
	best, weight := Identity, uint16(0)
	for _, c := range offers {
		if c < codings && a.weights[c] > weight {
			best, weight = c, a.weights[c]
		}
	}
	return best, weight > 0
}

func codingNamed(name []byte) (Coding, bool) {
	switch {
	case isName(name, "gzip"), isName(name, "x-gzip"): // RFC 9110, section 8.4.1.3, has them equal
		return Gzip, true
	case isName(name, "br"):
		return Brotli, true
	case isName(name, "zstd"):
		return Zstd, true
	case isName(name, "dcz"):
		return DCZ, true
	case isName(name, "identity"):
		return Identity, true
	}
	return 0, false
}

// weighted splits a member into its name and its weight, 0 to 2000; without one the weight is the highest.
func weighted(m []byte) (name []byte, weight uint16, ok bool) {
	name, param, has := bytes.Cut(m, []byte{';'})
	if !has {
		return name, 2000, len(name) > 0
	}
	param = trim(param)
	if len(param) < 3 || param[0]|0x20 != 'q' || param[1] != '=' {
		return nil, 0, false
	}
	q, ok := thousandths(param[2:])
	return trim(name), 2 * q, ok
}

// thousandths reads a qvalue: 0 to 1 with at most three decimals (RFC 9110, section 12.4.2).
func thousandths(b []byte) (uint16, bool) {
	if len(b) == 0 || len(b) > 5 || b[0] != '0' && b[0] != '1' || len(b) > 1 && b[1] != '.' {
		return 0, false
	}
	q := uint16(b[0]-'0') * 1000
	for i, unit := 2, uint16(100); i < len(b); i, unit = i+1, unit/10 {
		if b[i] < '0' || b[i] > '9' {
			return 0, false
		}
		q += uint16(b[i]-'0') * unit
	}
	return q, q <= 1000
}
