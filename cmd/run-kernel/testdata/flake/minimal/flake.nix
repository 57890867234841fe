# The smallest system, without nixpkgs: a second stage in busybox's shell. The
# tests put busybox beside it.
{
  outputs = { self }: {
    nixosConfigurations.vm = {
      config.system.build.toplevel = derivation {
        name = "minimal";
        system = "x86_64-linux";
        builder = "${self}/busybox";
        args = [ "sh" "-e" "${self}/build" ];
        source = self;
      };
      # Like NixOS, it tells what it requires of a kernel only where it builds one.
      extendModules = { modules }:
        let kernel = (builtins.head modules).boot.kernel.enable;
        in assert kernel._type == "override" && kernel.content; {
          config.system.requiredKernelConfig = [
            { configLine = "CONFIG_DEVTMPFS=y"; message = "CONFIG_DEVTMPFS is not enabled!"; }
            { configLine = "CONFIG_MODULES=y"; message = "CONFIG_MODULES is not yes!"; }
          ];
        };
    };
  };
}
