package report

import (
	"fmt"
	"html"
	"strings"
)

// Plot is a bar chart: groups of bars, one for each series.
type Plot struct {
	Name   string   `json:"name"` // of the file
	Title  string   `json:"title"`
	Unit   string   `json:"unit"`
	Series []string `json:"series"`
	Groups []Group  `json:"groups"`
}

// Group is a group of bars with a scale of its own.
type Group struct {
	Name   string    `json:"name"`
	Values []float64 `json:"values"` // one for each series; negative: not measured
}

// svg draws the bars from left to right. Each group has its own scale, because it is the ratios within a group that
// matter.
func (p Plot) svg() []byte {
	const width, label, bar, gap = 760, 150, 16, 26
	colours := []string{"#0b6e4f", "#8d99ae", "#6b7a99", "#b5838d", "#c9ada7", "#3d5a80", "#e07a5f", "#81b29a"}
	var b strings.Builder
	y := 34
	for _, g := range p.Groups {
		y += gap
		most := 0.0
		for _, v := range g.Values {
			most = max(most, v)
		}
		fmt.Fprintf(&b, `<text x="8" y="%d" font-weight="bold">%s</text>`+"\n", y-6, html.EscapeString(g.Name))
		for i, v := range g.Values {
			fmt.Fprintf(
				&b,
				`<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n",
				label-6,
				y+bar-4,
				html.EscapeString(p.Series[i]),
			)
			if v < 0 {
				fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#888">not measured</text>`+"\n", label, y+bar-4)
			} else {
				long := v / max(most, 1e-9) * (width - label - 110)
				fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/><text x="%.1f" y="%d">%s %s</text>`+"\n",
					label, y, long, bar-3, colours[i%len(colours)], label+long+5, y+bar-4, compact(v), html.EscapeString(p.Unit))
			}
			y += bar
		}
	}
	head := fmt.Sprintf(
		`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+
			"\n"+`<rect width="100%%" height="100%%" fill="white"/><text x="8" y="20" font-size="14">%s</text>`+"\n",
		width,
		y+12,
		html.EscapeString(p.Title),
	)
	return []byte(head + b.String() + "</svg>\n")
}
