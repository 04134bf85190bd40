package publish

import (
	"fmt"
	"strings"

	"brink/protocol"
)

// ReplicasError says that a release is durable and in force, on fewer nodes or in fewer regions than were asked for.
// Publishing it again waits for the rest.
type ReplicasError struct {
	Nodes, Regions int                // that were asked for
	Have           []protocol.Replica // that hold it
}

// Error says what there is, and of what.
func (e *ReplicasError) Error() string {
	names := make([]string, len(e.Have))
	for i, one := range e.Have {
		names[i] = one.Node
		if one.Region != "" {
			names[i] += " (" + one.Region + ")"
		}
	}
	var of []string
	if e.Nodes > 1 {
		of = append(of, fmt.Sprintf("on %d of %d nodes", len(e.Have), e.Nodes))
	}
	if e.Regions > 1 {
		of = append(of, fmt.Sprintf("in %d of %d regions", regionsOf(e.Have), e.Regions))
	}
	return fmt.Sprintf("published, and durable %s: %s", strings.Join(of, " and "), strings.Join(names, ", "))
}

// Hint says what to do about it.
func (e *ReplicasError) Hint() string {
	return `see "brink fleet status"; publish the same again to wait for the rest`
}

func regionsOf(list []protocol.Replica) int {
	regions := map[string]bool{}
	for _, one := range list {
		regions[one.Region] = true
	}
	return len(regions)
}

// replicated reports whether more than the node that answers is to hold what is published.
func (c Config) replicated() bool { return c.Replicas > 1 || c.Regions > 1 }

// enough returns nil if as many nodes and regions hold it as were asked for.
func (c *Config) enough(have []protocol.Replica) error {
	if !c.replicated() || len(have) >= c.Replicas && regionsOf(have) >= c.Regions {
		return nil
	}
	return &ReplicasError{Nodes: c.Replicas, Regions: c.Regions, Have: have}
}
