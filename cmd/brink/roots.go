package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"brink/channel"
)

// rootFlags say what org update changes about an org's root keys.
type rootFlags struct {
	added, removed []string
	threshold      int
}

func (r *rootFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&r.added, "add-root", nil, "`FILE` of a public key that becomes a root key (repeatable)")
	flags.StringArrayVar(&r.removed, "remove-root", nil, "`FILE` of a public key that stops being a root key (repeatable)")
	flags.IntVar(&r.threshold, "root-threshold", 1, "`NUMBER` of root keys that must sign from now on")
}

// apply changes the roots of next, and makes sure that each of the keys that sign is a root, of the document before or
// of this one: the signature of any other would say nothing.
func (r *rootFlags) apply(cmd *cobra.Command, next *channel.TrustConfig, signers []channel.PrivateKey) error {
	before := slices.Clone(next.Roots)
	added, err := readPublicKeys(r.added)
	if err != nil {
		return err
	}
	removed, err := readPublicKeys(r.removed)
	if err != nil {
		return err
	}
	for _, key := range added {
		if !slices.Contains(next.Roots, key) {
			next.Roots = append(next.Roots, key)
		}
	}
	for _, key := range removed {
		if !slices.Contains(next.Roots, key) {
			return (&usageError{message: fmt.Sprintf("org %s has no root key %s", next.Org, key.ID())}).of(cmd)
		}
		next.Roots = slices.DeleteFunc(next.Roots, func(root channel.PublicKey) bool { return root == key })
	}
	if cmd.Flags().Changed("root-threshold") {
		next.Threshold = r.threshold
	}
	for _, key := range signers {
		if !slices.Contains(before, key.Public()) && !slices.Contains(next.Roots, key.Public()) {
			return withHint(
				&channel.RefusedError{
					Code:   channel.CodeUnknownKey,
					Reason: fmt.Sprintf("key %s is no root key of org %s", key.Public().ID(), next.Org),
				},
				"to make it one, give its public key with --add-root",
			)
		}
	}
	return nil
}
