// Package channel defines who may publish what, and which device gets what: the signed statements of Brink, the keys
// that sign them, and the decision for a device. It is pure: functions take bytes and a time, and return a statement, a
// decision or a [*RefusedError]. They use no network, no files and no clock.
//
// There are five kinds of signed statements. An org's trust document ([Trust]) lists its root keys, its other keys and
// its roles. A bundle intent ([Intent]) is what a publisher signs before an upload. A channel manifest ([Manifest])
// defines what a channel serves. A renewal ([SignRenewal]) extends the time for which a manifest is valid, and is read
// as a manifest. A listing ([Listing]) requests the channels of an org. Each is in a DSSE envelope
// (https://github.com/secure-systems-lab/dsse) of which there is exactly one encoding.
//
// The life of one release: [Manifest.Publish] makes the next manifest, which serves it under a higher sequence;
// [Manifest.Roll] does so for some devices first. [SignManifest] signs the result, [Trust.VerifyManifest] verifies it
// on every node and device, [Newer] decides whether it replaces the one in force, [State.Accept] makes the additional
// checks of a device, and [Resolve] decides what the device gets. [Choose] chooses the channel of a device that does
// not require a certain one.
//
// The invariants: a statement that a Verify function returned was signed by enough distinct keys of one role that the
// trust document allows for the app and channel. Signed bytes are stored as received and never encoded again. A device
// that follows a channel made by the operations of this package can accept every later manifest, whichever it missed in
// between. It moves to a lower version, or back to what its native app came with, only where a signed statement says
// so: a rollback withdrew its version, an override names the device, a rollout gives the release that it runs to
// others, the channel was reverted, or the root keys reset it ([Epoch]).
package channel
