package main

import (
	"bytes"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"brink/channel"
)

func keyShowCommand(sh *shell) *cobra.Command {
	cmd := verb("show FILE", "Show the ID and the kind of a key",
		"FILE is a private or a public key. Both keys of a pair have the same ID.",
		"  brink key show ci.key\n  brink key show ci.key.pub --json | jq -r .id",
		func(_ *cobra.Command, args []string) error {
			info, err := readKeyInfo(args[0])
			if err != nil {
				return err
			}
			return sh.show(info, func(w io.Writer) {
				fmt.Fprintf(w, "key %s\n", info.ID)
				facts(w, "kind", info.Kind)
			})
		})
	cmd.Args = args("FILE")
	sh.printsJSON(cmd)
	return cmd
}

func readKeyInfo(file string) (keyInfo, error) {
	raw, err := readSecretFile(file, channel.MaxKey)
	if err != nil {
		return keyInfo{}, err
	}
	if bytes.Contains(raw, []byte("BEGIN PUBLIC KEY")) {
		key, err := channel.ParsePublicKey(raw)
		if err != nil {
			return keyInfo{}, fmt.Errorf("%s: %w", file, err)
		}
		return keyInfo{File: file, Kind: publicKind, ID: key.ID()}, nil
	}
	key, err := channel.ParsePrivateKey(raw)
	if err != nil {
		return keyInfo{}, fmt.Errorf("%s: %w", file, err)
	}
	return keyInfo{File: file, Kind: privateKind, ID: key.Public().ID()}, nil
}
