package plugin

import (
	"brink/channel"
)

// blocked returns the answer for a device that has to stay as it is, in Capgo's word for the reason. Capgo's servers
// look at the reasons in another order than channel.Resolve does, so where several hold at once, another one may be
// told.
func blocked(reason channel.Reason, m *channel.Manifest, in *info) *failure {
	no := func(code string, k kind, message string) *failure {
		f := decline(code, message)
		f.Kind = k
		return f
	}
	switch reason {
	case channel.ReasonNotInRollout, channel.ReasonAhead:
		// Capgo would give the one outside a rollout what came before, which there is none of here, and take the one
		// that is ahead down. Here a device goes down only when a signed statement says so.
		return upToDate()
	case channel.ReasonPlatform:
		return no("disabled_platform_"+in.Platform, kindBlocked, "The channel is not for "+in.Platform).
			with("version", m.Release.Version).with("old", in.Version)
	case channel.ReasonPrivate:
		return no("cannot_update_via_private_channel", kindBlocked, "The channel is private").
			with("version", m.Release.Version).with("old", in.Version)
	case channel.ReasonEmulator:
		return no("disable_emulator", kindBlocked, "The channel is not for emulators")
	case channel.ReasonDevice:
		return no("disable_device", kindBlocked, "The channel is for emulators only")
	case channel.ReasonDevelopment:
		return no("disable_dev_build", kindBlocked, "The channel is not for development builds")
	case channel.ReasonProduction:
		return no("disable_prod_build", kindBlocked, "The channel is for development builds only")
	case channel.ReasonNativeTooOld:
		return tooFar(no("disable_auto_update_to_metadata", kindBlocked, "The update needs a newer native app"), m, in)
	case channel.ReasonUnderNative, channel.ReasonNativeTooNew:
		return no("disable_auto_update_under_native", kindBlocked, "The update is for an older native app").
			with("version", m.Release.Version).with("old", in.Version)
	case channel.ReasonStep:
		code, message := stepWord(m.Rules.MaxStep)
		return tooFar(no(code, kindBlocked, message), m, in)
	case channel.ReasonMisconfigured:
		return no("misconfigured_channel", kindFailed, "The channel does not say from which native version on it updates").
			with("version", m.Release.Version).with("old", in.Build)
	case channel.ReasonNativeUnknown, channel.ReasonVersionUnknown:
		return no("unknown_version_build", kindFailed, "The version of the native app is not known")
	default: // it has expired, or the reason is newer than this page
		return no("channel_"+string(reason), kindBlocked, "The channel has nothing to give now: "+string(reason))
	}
}

// tooFar adds what a plugin tells the app of an update that is there and is not for it.
func tooFar(f *failure, m *channel.Manifest, in *info) *failure {
	return f.with("major", true).with("version", m.Release.Version).with("old", in.Build)
}

// stepWord returns Capgo's name for a limit on the steps of a channel. Capgo names the steps that are excluded, not
// those that are allowed.
func stepWord(largest channel.Step) (code, message string) {
	switch largest {
	case channel.StepNumber:
		return "disable_auto_update_to_metadata", "The update needs a newer native app"
	case channel.StepMinor:
		return "disable_auto_update_to_major", "The channel takes no major updates"
	case channel.StepPatch:
		return "disable_auto_update_to_minor", "The channel takes no minor updates"
	default:
		return "disable_auto_update_to_patch", "The channel takes no updates"
	}
}

func upToDate() *failure {
	f := decline("no_new_version_available", "No new version available")
	f.Kind = kindUpToDate
	return f
}

// failed returns an answer that the device takes for a failed update.
func failed(code, message string) *failure {
	f := decline(code, message)
	f.Kind = kindFailed
	return f
}

// unknownApp is what Capgo's servers say of apps that are not theirs. Plugins up to 8.51.4 then send no events until
// the app is started again; there is no Retry-After, so that later ones are not kept from asking.
func unknownApp() *failure {
	return &failure{status: 429, Error: "on_premise_app", Message: "The app is not served here"}
}

// noChannel is the answer to who follows no channel.
func noChannel() *failure { return failed("no_channel", "no default channel or override") }
