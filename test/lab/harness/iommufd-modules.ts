/** The modules with iommufd that the lab builds, in the order in which they are loaded. Read on both sides. */
export const IOMMUFD_MODULES = ["iommufd", "vfio", "vfio_iommu_type1", "vfio-pci-core", "vfio-pci"];

/** Folder inside the VM. */
export const IOMMUFD_FOLDER = "/lab/iommufd";
