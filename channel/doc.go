// Package channel says who may publish what, and who gets what. It holds the signed statements of Brink, the keys that
// sign them, and the decision that a device gets. It is pure: bytes and a time go in, a statement, a decision or a
// [*RefusedError] comes out. There is no network, no file and no clock in it.
//
// Five statements are signed. An org's trust document ([Trust]) names its root keys, its keys and its roles. A bundle
// intent ([Intent]) is what a publisher signs before an upload. A channel manifest ([Manifest]) says what a channel
// serves. A renewal ([SignRenewal]) says that a manifest is good for longer, and is read as one. A listing ([Listing])
// asks which channels an org has. Each travels in a DSSE envelope (https://github.com/secure-systems-lab/dsse) that has
// one byte form only.
//
// The life of one release: [Manifest.Publish] puts it on top of what the channel serves and raises the sequence, or
// [Manifest.Roll] does so for some devices first; [SignManifest] signs the result, [Trust.VerifyManifest] checks it on
// every node and device, [Newer] lets it replace the one in force, [State.Accept] is what a device asks beyond the
// signature, and [Resolve] says what the device gets. Which channel a device follows that does not insist on one is for
// [Choose] to say.
//
// The invariants: a statement that a Verify function returned was signed by enough distinct keys of one role that the
// trust document allows for the app and channel; signed bytes are kept as they came and never written anew; and a
// device that follows a channel made by the operations of this package can accept every later manifest, whichever it
// missed in between, and moves to a lower version, or back to what its native app came with, only where a signed
// statement says so: a rollback took its own version back, an override names the device, a rollout gives the release
// that it runs to others, the channel was reverted, or the root keys reset it ([Epoch]).
package channel
