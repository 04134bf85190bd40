package publish

import (
	"fmt"
	"strings"

	"brink/protocol"
)

// ReplicasError says that a release is in force, but durable on fewer nodes or in fewer regions than requested.
// Publishing it again waits for the rest.
type ReplicasError struct {
	Nodes, Regions int                // requested
	Have           []protocol.Replica // on which it is durable
}

// Error returns the numbers and the names of the nodes.
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

// Hint returns what to do about it.
func (e *ReplicasError) Hint() string {
	return `check the nodes with "brink fleet status"; publish the same again to wait for the rest`
}

func regionsOf(list []protocol.Replica) int {
	regions := map[string]bool{}
	for _, one := range list {
		regions[one.Region] = true
	}
	return len(regions)
}

// replicated reports whether a release must be durable on more than the node that answers.
func (c Config) replicated() bool { return c.Replicas > 1 || c.Regions > 1 }

// checkReplicas returns an error if there are fewer replicas or regions than configured.
func (c *Config) checkReplicas(have []protocol.Replica) error {
	if !c.replicated() || len(have) >= c.Replicas && regionsOf(have) >= c.Regions {
		return nil
	}
	return &ReplicasError{Nodes: c.Replicas, Regions: c.Regions, Have: have}
}
